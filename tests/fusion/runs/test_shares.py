"""``--jobs i/N``: shares that run at once in one run directory, are killed, and come back."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ser_base.files import locked
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.listener import Listener
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.runs.run import run


def job(cache: Path, out: Path, **options: Any) -> FuseJob:
    return FuseJob(
        **{
            "cache": cache,
            "out": out,
            "fusion": ("audio", "concat"),
            "epochs": 2,
            "workers": 1,
            "seeds": (0, 1),
            **options,
        }
    )


def posteriors(out: Path) -> pd.DataFrame:
    frames = [pd.read_parquet(path) for path in sorted(out.glob("jobs/*/*/test.parquet"))]
    return pd.concat(frames, ignore_index=True)


class Deadly(Listener):
    """Kills the process after its first job."""

    def job(self, task: Any, seconds: float) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def start(work: Callable[[], Any]) -> int:
    """Runs ``work`` in a forked process; returns its pid."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_three_shares_at_once_one_killed_make_the_whole(small_cache: Path, tmp_path: Path) -> None:
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    prepared = prepare(job(small_cache, whole))
    train_all(prepared)
    shares = [job(small_cache, shared, part=(k, 3)) for k in (1, 2, 3)]
    pids = [
        start(lambda each=each, k=k: run(each, listener=Deadly() if k == 1 else None)) for k, each in enumerate(shares)
    ]
    assert [ended(pid) for pid in pids] == [0, -signal.SIGKILL, 0]
    own = len(prepared.tasks[1::3])
    assert own >= 2
    assert len(list(shared.glob("jobs/*/*/done.json"))) == len(prepared.tasks) - own + 1
    assert not json.loads((shared / "run.json").read_text())["finished"]
    outcome = run(shares[1])  # as a requeued task of an array; it is the last one, so it judges
    assert outcome.remaining == 0 and outcome.report is not None and outcome.report.is_file()
    pd.testing.assert_frame_equal(posteriors(shared), posteriors(whole))
    assert json.loads((shared / "run.json").read_text())["finished"]
    assert not list(shared.rglob("*.part"))


def test_what_a_killed_training_left_is_removed_and_never_read(small_cache: Path, tmp_path: Path) -> None:
    """Killed with a half file open; the next run of the same command, and ser compare, clear it away."""
    out = tmp_path / "run"

    def die_writing() -> None:
        def half(frame: pd.DataFrame, path: Path, **options: Any) -> None:
            Path(path).write_bytes(b"")
            os.kill(os.getpid(), signal.SIGKILL)

        prepared = prepare(job(small_cache, out))
        pd.DataFrame.to_parquet = half  # type: ignore[assignment]
        train_all(prepared)

    assert ended(start(die_writing)) == -signal.SIGKILL
    (left,) = out.rglob("*.part")
    assert list(left.rglob("test.parquet")) and not list(out.glob("jobs/*/*/test.parquet"))
    older = out / "jobs/audio-stats/.fold2-seed0.999999999.part"  # as older versions named it; there is no such process
    living = out / f"jobs/audio-stats/.fold1-seed0.{os.getpid()}.part"
    for folder in (older, living):
        folder.mkdir()
        (folder / "test.parquet").write_bytes(b"")
    prepare(job(small_cache, out))
    assert list(out.rglob("*.part")) == [living]


def test_two_shares_write_a_new_run_directory_at_once(small_cache: Path, tmp_path: Path) -> None:
    """All of them find no run directory, make it, and describe the same study."""
    out = tmp_path / "run"
    pids = [start(lambda k=k: prepare(job(small_cache, out, part=(k, 4)))) for k in (1, 2, 3, 4)]
    assert [ended(pid) for pid in pids] == [0, 0, 0, 0]
    assert {path.name for path in out.iterdir()} == {"run.json", "utterances.parquet", "folds.csv", "excluded.csv"}


def test_one_judge_at_a_time(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def judge() -> None:
        with locked(tmp_path / ".judging"):
            for _ in range(200):
                with open(log, "a") as file:
                    file.write(f"{os.getpid()}\n")

    pids = [start(judge) for _ in range(3)]
    assert [ended(pid) for pid in pids] == [0, 0, 0]
    lines = log.read_text().splitlines()
    assert all(len(set(lines[k : k + 200])) == 1 for k in (0, 200, 400))
