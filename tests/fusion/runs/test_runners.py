"""One contract for every runner of stage two: the numbers of a plain run in one process, also when a worker is killed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ser_base.errors import PackageMissing
from ser_base.workers import WorkersDie
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.runs.run import run
from ser_fusion.runs.runners import RUNNERS


def job(cache: Path, out: Path, **options: Any) -> FuseJob:
    return FuseJob(**{"cache": cache, "out": out, "fusion": ("audio", "concat"), "epochs": 2, "workers": 1, **options})


def posteriors(out: Path) -> pd.DataFrame:
    frames = [pd.read_parquet(path) for path in sorted(out.glob("jobs/*/*/test.parquet"))]
    return pd.concat(frames, ignore_index=True)


KILLED = """
from ser_fusion.runs import folder

def do_task(*arguments, then=folder.do_task):
    crash({times})
    return then(*arguments)

folder.do_task = do_task
"""


@pytest.fixture(params=list(RUNNERS))
def runner(request: pytest.FixtureRequest) -> str:
    """Every runner of the table."""
    if request.param == "ray":
        pytest.importorskip("ray.data", reason="Ray is not installed (extra ray)")
    return str(request.param)


def test_two_workers_and_one_killed_give_the_plain_numbers(
    runner: str,
    small_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    crashing: Callable[[str], Callable[[], int]],
) -> None:
    train_all(prepare(job(small_cache, tmp_path / "plain")))
    monkeypatch.chdir(tmp_path)  # a relative run directory: actors live elsewhere
    deaths = crashing(KILLED.format(times=1))
    prepared = prepare(job(small_cache, Path("shared"), runner=runner, workers=2))
    assert train_all(prepared) == 2  # the worker is replaced, and its task given out again
    assert deaths() == 1 and not prepared.remaining
    pd.testing.assert_frame_equal(posteriors(tmp_path / "shared"), posteriors(tmp_path / "plain"))
    assert run(job(small_cache, tmp_path / "shared")).report  # another runner goes on with the same run


@pytest.mark.slow
@pytest.mark.parametrize("name", ["local", "ray"])
def test_a_task_that_kills_every_worker_is_an_error_that_keeps_the_rest(
    name: str, small_cache: Path, tmp_path: Path, crashing: Callable[[str], Callable[[], int]]
) -> None:
    if name == "ray":
        pytest.importorskip("ray.data", reason="Ray is not installed (extra ray)")
    crashing(KILLED.format(times=100))
    with pytest.raises(WorkersDie, match="times in a row"):
        train_all(prepare(job(small_cache, tmp_path / "run", runner=name, workers=2, fusion=("audio",))))


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


LIGHT = """
import subprocess
import sys
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.run import run

if __name__ == "__main__":
    run(FuseJob(cache=sys.argv[1], out=sys.argv[2], fusion=("audio", "mdre", "cross"), epochs=1, workers=2, device="cpu"))
    sys.exit("torch is loaded" if "torch" in sys.modules else 0)
"""


def test_only_workers_load_torch(small_cache: Path, tmp_path: Path) -> None:
    """It takes seconds, which the workers' server needs at the same time."""
    script = tmp_path / "light.py"
    script.write_text(LIGHT)
    command = [sys.executable, str(script), str(small_cache), str(tmp_path / "run")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
