"""One contract for every runner of stage two: the numbers of a plain run in one process, also when a worker is killed."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ser_base.errors import PackageMissing
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.runs.run import run
from ser_fusion.runs.runners import RUNNERS
from ser_fusion.runs.runners.base import WorkerDied


def job(cache: Path, out: Path, **options: Any) -> FuseJob:
    return FuseJob(**{"cache": cache, "out": out, "fusion": ("audio", "concat"), "epochs": 2, "workers": 1, **options})


def posteriors(out: Path) -> pd.DataFrame:
    frames = [pd.read_parquet(path) for path in sorted(out.glob("jobs/*/*/test.parquet"))]
    return pd.concat(frames, ignore_index=True)


def murderous_local(monkeypatch: pytest.MonkeyPatch, marker: Path, always: bool) -> None:
    """The local runner has nobody to replace a worker: it says so, keeps what is done, and is run again."""
    import multiprocessing.context

    start = multiprocessing.context.SpawnProcess.start

    def doomed(self: Any) -> None:
        start(self)
        if always or not marker.exists():
            marker.touch()
            os.kill(self.pid, signal.SIGKILL)

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", doomed)


def murderous_ray(monkeypatch: pytest.MonkeyPatch, marker: Path, always: bool) -> None:
    """Kills an actor that has just been given a task."""
    import ray.cloudpickle

    import ser_fusion.runs.runners.ray

    class Worker(ser_fusion.runs.runners.ray.Worker):
        def train(self, folder: str, fingerprint: str) -> float:
            if always or not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().train(folder, fingerprint)

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the actors cannot import this file
    monkeypatch.setattr(ser_fusion.runs.runners.ray, "Worker", Worker)


MURDEROUS: dict[str, Callable[..., None]] = {"local": murderous_local, "ray": murderous_ray}


@pytest.fixture(params=list(RUNNERS))
def runner(request: pytest.FixtureRequest) -> str:
    """Every runner of the table."""
    if request.param == "ray":
        pytest.importorskip("ray.data", reason="Ray is not installed (extra ray)")
    return str(request.param)


def test_two_workers_and_one_killed_give_the_plain_numbers(
    runner: str, small_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_all(prepare(job(small_cache, tmp_path / "plain")))
    monkeypatch.chdir(tmp_path)  # a relative run directory: actors live elsewhere
    shared = job(small_cache, Path("shared"), runner=runner, workers=2)
    MURDEROUS[runner](monkeypatch, tmp_path / "marker", always=False)
    if runner == "local":
        with pytest.raises(WorkerDied, match="code -9"):
            train_all(prepare(shared))
    prepared = prepare(shared)
    assert train_all(prepared) == 2
    assert (tmp_path / "marker").exists() and not prepared.remaining
    pd.testing.assert_frame_equal(posteriors(tmp_path / "shared"), posteriors(tmp_path / "plain"))
    assert run(job(small_cache, tmp_path / "shared")).report  # another runner goes on with the same run


@pytest.mark.slow
def test_a_task_that_kills_every_actor_is_an_error_that_keeps_the_rest(
    small_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray.data", reason="Ray is not installed (extra ray)")
    murderous_ray(monkeypatch, tmp_path / "marker", always=True)
    with pytest.raises(WorkerDied, match="again and again"):
        train_all(prepare(job(small_cache, tmp_path / "run", runner="ray", fusion=("audio",))))


def test_a_node_with_other_features_is_refused(small_cache: Path, tmp_path: Path) -> None:
    from ser_fusion.runs.runners.ray import OtherGround, Worker

    here = job(small_cache, tmp_path / "run")
    worker, task = Worker(here), prepare(here).tasks[0]
    with pytest.raises(OtherGround, match=r"fold0-seed0 is another task.*\n.*same cache"):
        worker.train(task.folder, "0" * 32)
    with pytest.raises(OtherGround):
        worker.train("jobs/cross-stats/fold0-seed0", task.fingerprint)
    assert worker.train(task.folder, task.fingerprint) > 0
    assert worker.train(task.folder, task.fingerprint) == 0  # done already: given out twice


def test_a_missing_ray_says_what_to_install(small_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PackageMissing, match=r"ser-fusion\[ray\]"):
        run(job(small_cache, tmp_path / "run", runner="ray"))
