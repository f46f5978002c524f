"""Files and folders that appear at once; leftovers of dead writers go, those of living ones stay."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from ser_base.files import LOCK, UNLOCKED_HOURS, private, replacing, sweep

HOLD = """
import sys
from pathlib import Path
from ser_base.files import replacing
with replacing(Path(sys.argv[1])) as scratch:
    scratch.write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def writer(path: Path) -> "Popen[str]":
    """A process that holds a half-written file until its input is closed."""
    process = Popen([sys.executable, "-c", HOLD, str(path)], stdin=PIPE, stdout=PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    return process


def test_a_file_and_a_folder_appear_whole(tmp_path: Path):
    for path in (tmp_path / "x", tmp_path / "x"):
        with replacing(path) as scratch:
            scratch.write_text("new")
            assert not list(tmp_path.glob("x*")) or path.read_text() == "new"
        assert path.read_text() == "new" and os.listdir(tmp_path) == ["x"]
    folder = tmp_path / "folder"
    for text in ("one", "two"):
        with replacing(folder) as scratch:
            scratch.mkdir()
            (scratch / text).write_text(text)
        assert os.listdir(folder) == [text]
    assert sorted(os.listdir(tmp_path)) == ["folder", "x"]


def test_a_failed_replacement_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(OSError, match="disk"), replacing(path) as scratch:
        scratch.write_text("half")
        raise OSError("disk")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("deep", [False, True])
def test_leftovers_of_the_dead_go_and_the_living_keep_theirs(tmp_path: Path, deep: bool):
    folder = tmp_path / "below" if deep else tmp_path
    folder.mkdir(exist_ok=True)
    dead, living = writer(folder / "dead"), writer(folder / "living")
    dead.kill()
    assert dead.wait() == -signal.SIGKILL
    assert len(list(folder.glob(".*.part"))) == 2
    assert sweep(tmp_path, deep=deep) == 1
    (left,) = folder.glob(".*.part")
    assert left.name.startswith(".living.") and sweep(tmp_path, deep=deep) == 0
    living.communicate()
    assert living.returncode == 0
    assert os.listdir(folder) == ["living"] and (folder / "living").read_bytes() == b"half"


def test_the_next_writer_beside_it_clears_a_leftover_away(tmp_path: Path):
    process = writer(tmp_path / "a")
    process.kill()
    process.wait()
    with replacing(tmp_path / "b") as scratch:
        scratch.write_text("b")
    assert os.listdir(tmp_path) == ["b"]


def test_other_names_and_fresh_files_without_a_lock_stay(tmp_path: Path):
    """A folder that is not ours alone: only our own names are looked at, and age decides where there is no lock."""
    token = "0" * 31 + "a"
    foreign, fresh, old = tmp_path / ".film.part", tmp_path / f".fresh.{token}.part", tmp_path / f".old.{token}.part"
    for path in (foreign, fresh, old):
        path.write_bytes(b"half")
    long_ago = time.time() - (UNLOCKED_HOURS + 1) * 3600
    os.utime(old, (long_ago, long_ago))
    os.utime(foreign, (long_ago, long_ago))
    assert sweep(tmp_path) == 1 and set(os.listdir(tmp_path)) == {foreign.name, fresh.name}
    assert sweep(tmp_path / "missing") == 0


def _write_often(path: Path, times: int) -> None:
    for number in range(times):
        with private(path) as folder:
            (folder / "x").write_text(str(number))
            assert (folder / "x").read_text() == str(number) and (folder / LOCK).exists()


def _sweep_until(folder: Path, stop: Path) -> None:
    while not stop.exists():
        sweep(folder)


def test_writers_and_sweeps_at_once(tmp_path: Path):
    """A sweep between the making of the folder and its lock must not take it away from its writer."""
    context, (folder, stop) = multiprocessing.get_context("fork"), (tmp_path / "d", tmp_path / "stop")
    folder.mkdir()
    sweeping = [context.Process(target=_sweep_until, args=(folder, stop)) for _ in range(2)]
    writing = [context.Process(target=_write_often, args=(folder / f"w{n}", 300)) for n in range(2)]
    for process in (*sweeping, *writing):
        process.start()
    for process in writing:
        process.join()
    stop.touch()
    for process in sweeping:
        process.join()
    assert [process.exitcode for process in (*sweeping, *writing)] == [0, 0, 0, 0]
    assert os.listdir(folder) == []
