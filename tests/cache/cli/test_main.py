"""What a cache says to people: nothing in it controls a terminal or runs in a shell; closed and full outputs; stray files."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from made_cache import items, spec, state, write

from ser_base.safe_text import cell, command, visible
from ser_cache import Failure, Item, create_cache, open_cache
from ser_cache.cli.main import main
from ser_cache.format.plan import plan_log

HOSTILE = "ser-extract --cache c\x1b[2J\x1b]0;owned\x07; touch owned\n$(touch owned) `touch owned` 'it''s' \u202e | sh"


def _ser_cache(*words: str, **streams: Any) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-c", "from ser_cache.cli.main import main; main()", *words], check=False, **streams
    )


def _run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_a_recorded_command_is_printed_quoted_and_stripped(tmp_path: Path):
    root = tmp_path / "c"
    write(root, items(4))
    (entry,) = (root / "entries").iterdir()
    log = plan_log(entry)
    log.replace(1, log.read(log.record(1), 1).model_copy(update={"recipe": HOSTILE}).sealed())
    shutil.rmtree(next(entry.glob("data/*")))
    for words in (("verify", root, "--repair"), ("info", root), ("verify", root)):
        _, told = _run(*words)
        assert all(letter.isprintable() for letter in told.replace("\n", ""))
        line = next(line for line in told.splitlines() if "ser-extract" in line)
        assert shlex.split(line)[:3] == ["ser-extract", "--cache", "c[2J]0;owned;"]
        subprocess.run(["sh", "-c", f"cd {tmp_path}; true {line}"], check=True)
        assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("recipe", ["ser-extract --corpus 'my corpus' --cache C", "echo 'open", "", "a\0b"])
def test_a_command_stays_what_it_was(recipe: str):
    told = command(recipe)
    assert "\0" not in told and len(shlex.split(told)) == {"s": 5, "e": 1, "": 0, "a": 1}[recipe[:1]]
    if recipe.startswith("ser"):
        assert told == recipe


def test_ids_failures_and_declared_values_do_not_control_the_terminal(tmp_path: Path):
    cache = create_cache(tmp_path / "c")
    writer = cache.writer(spec(declared={"note": "a\x1b[31mb\nc"}))
    writer.plan([Item("u\x1b[1m\ud800", "h")])
    writer.commit(next(writer.pending()), [], {"u\x1b[1m\ud800": Failure("bad\x07", "x")}, {"host": "\x1b[5m"})
    code, told = _run("info", tmp_path / "c")
    assert code == 0 and r"\x1b[31mb\nc" in told and r"\ud800" in told
    assert all(letter.isprintable() for letter in told.replace("\n", ""))
    assert visible("a\tb") == r"a\tb"


def test_a_good_cache_is_good_without_stderr_and_a_full_disk_is_told(tmp_path: Path):
    root = tmp_path / "c"
    write(root, items(4))
    with open("/dev/full", "wb") as full:
        assert _ser_cache("verify", str(root), stdout=subprocess.DEVNULL, stderr=full).returncode == 0
        told = _ser_cache("verify", str(root), stdout=full, stderr=subprocess.PIPE)
    assert told.returncode == 1 and "Error: writing to standard output failed: No space" in told.stderr.decode()
    assert b"Traceback" not in told.stderr
    code = "from ser_cache.cli.main import main; main()"
    shell = f"{shlex.quote(sys.executable)} -c '{code}' verify {shlex.quote(str(root))}"
    for closed in ("2>&-", ">&-", ">&- 2>&-"):
        assert subprocess.run(["sh", "-c", f"{shell} {closed}"], check=False, capture_output=True).returncode == 0, (
            closed
        )


def test_stray_files_do_not_stop_verify(tmp_path: Path, container: str):
    root = tmp_path / "c"
    write(root, items(4), container).attach("manifest.parquet", b"rows")
    expected = state(root)
    for name in ("entries/.DS_Store", "entries/notes.txt", "notes", f"entries/{spec().address}/notes"):
        (root / name).write_bytes(b"x")
    assert _run("verify", root)[0] == 0 and _run("ls", root)[0] == 0 and _run("gc", root)[0] == 0
    assert state(root) == expected
    (root / "entries" / "audio-x-L1-float16").write_bytes(b"x")  # the name of an entry
    code, told = _run("verify", root)
    assert code == 1 and "it is not a folder" in told
    assert _run("verify", root, "--repair")[0] == 0 and _run("verify", root)[0] == 0
    assert state(root) == expected


@pytest.mark.parametrize("folder", ["plans", "commits", "commits/0001", "data", "witnesses", "witnesses/plans"])
def test_a_file_in_the_place_of_a_folder(tmp_path: Path, folder: str):
    root = tmp_path / "c"
    write(root, items(4))
    expected = state(root)
    path = root / "entries" / spec().address / folder
    shutil.rmtree(path)
    path.write_bytes(b"x")
    assert _run("verify", root)[0] == 1
    for use in ("ls", "info", "du", "gc"):
        assert "Traceback" not in _run(use, root)[1]
    _run("verify", root, "--repair")
    _run("verify", root, "--repair")
    write(root, items(4))
    assert _run("verify", root)[0] == 0 and state(root) == expected


@pytest.mark.parametrize("name", ["plans/0001.json", "entry.json", "commits/0001/00000000-0000.json"])
def test_a_folder_in_the_place_of_a_file(tmp_path: Path, name: str):
    root = tmp_path / "c"
    write(root, items(4))
    expected = state(root)
    path = root / "entries" / spec().address / name
    path.unlink()
    (path / "inner").mkdir(parents=True)
    code, told = _run("verify", root)
    assert code == 1 and "not a regular file" in told
    assert _run("verify", root, "--repair")[0] in (0, 3)
    write(root, items(4))
    assert _run("verify", root)[0] == 0 and state(root) == expected


def test_cells():
    assert [cell(text) for text in ("=1+1", "-5", "-5a", "@x", "\tx", "a\x1bb", "plain")] == [
        "'=1+1", "-5", "'-5a", "'@x", r"'\tx", r"a\x1bb", "plain",
    ]  # fmt: skip


def test_reading_works_after_a_stray_pipe(tmp_path: Path):
    root = tmp_path / "c"
    write(root, items(4))
    os.mkfifo(root / "entries" / spec().address / "plans" / "0002.json")
    code, told = _run("verify", root)
    assert code == 1 and "neither a file nor a folder" in told
    assert _run("ls", root)[0] == 1 and len(open_cache(root).entries()) == 1
