"""A finished run that nothing has changed since is told again, without torch and without touching a file; else it is judged again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ser_fusion.runs.ahead import stands
from ser_fusion.runs.environment import makers
from ser_fusion.runs.finished import recall
from ser_fusion.runs.job import FuseJob, open_job
from ser_fusion.runs.run import run

COMMAND = """
import sys
from ser_fusion.cli.fuse import command
try:
    command.main()
finally:
    loaded = sorted(set(sys.modules) & {"torch", "sklearn", "scipy", "matplotlib", "statsmodels", "zarr", "h5py"})
    print("loaded:", loaded, file=sys.stderr)
"""


def job(cache: Path, out: Path, **options: Any) -> FuseJob:
    return FuseJob(
        **{"cache": cache, "out": out, "fusion": ("audio",), "epochs": 1, "workers": 0, "stride": 4, **options}
    )


@pytest.fixture(scope="module")
def judged(small_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("judged") / "run"
    run(job(small_cache, out))
    return out


@pytest.fixture
def again(judged: Path, tmp_path: Path) -> Path:
    """A copy of the run that may be spoilt."""
    return Path(shutil.copytree(judged, tmp_path / "run"))


def known(cache: Path, out: Path, **options: Any) -> Any:
    asked = job(cache, out, **options)
    return recall(asked, open_job(asked))


def test_a_finished_run_of_this_very_job_is_known_before_its_study_is_opened(again: Path, small_cache: Path) -> None:
    assert stands(job(small_cache, again))
    assert not stands(job(small_cache, again, fusion=("text",))), "one more row is to be trained"
    assert not stands(job(small_cache, again / "elsewhere"))
    (again / "run.json").write_text("{")
    assert not stands(job(small_cache, again))


def test_it_is_told_again_without_torch_and_nothing_is_touched(judged: Path, small_cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in judged.rglob("*")}
    words = ["--cache", small_cache, "--fusion", "audio", "--epochs", 1, "--stride", 4, "--out", judged]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "3 jobs (row, fold, seed), 3 of them done already." in done.stderr and "loaded: []" in done.stderr
    assert "Nothing has changed since they were judged." in done.stderr
    score = json.loads((judged / "metrics.json").read_text())["rows"][0]["metrics"]["UWA"]["mean"]
    assert f"{score:.3f}".lstrip("0") in done.stdout and f"Report: {judged / 'report.html'}" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in judged.rglob("*")} == before


def test_the_outcome_is_that_of_the_run(judged: Path, small_cache: Path) -> None:
    outcome, trainings = known(small_cache, judged)
    assert trainings == 3 and outcome.metrics == json.loads((judged / "metrics.json").read_text())
    assert (outcome.remaining, outcome.failed, outcome.report) == (0, 0, judged / "report.html")


@pytest.mark.parametrize(
    "name", ["metrics.json", "report.html", "predictions.parquet", "jobs/audio-stats/fold0-seed0/test.parquet"]
)
def test_a_changed_byte_is_noticed_whatever_the_time(name: str, again: Path, small_cache: Path) -> None:
    path = again / name
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert known(small_cache, again) == f"{name} is not as it was written"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda out: (out / "report.html").unlink(), "report.html is not as it was written"),
        (lambda out: (out / "finished.json").unlink(), ""),
        (lambda out: (out / "finished.json").write_text("{"), "finished.json: it cannot be read"),
        (lambda out: (out / "finished.json").write_text('{"mark": 1}'), "finished.json: mark is 1"),
    ],
)
def test_what_is_missing_or_damaged_is_said(
    spoil: Callable[[Path], Any], said: str, again: Path, small_cache: Path
) -> None:
    spoil(again)
    found = known(small_cache, again)
    assert isinstance(found, str) and found.startswith(said) and bool(found) == bool(said)


@pytest.mark.parametrize("name", ["../outside", "/dev/zero", "link"])
def test_a_note_from_elsewhere_reads_nothing_outside_the_run(name: str, again: Path, small_cache: Path) -> None:
    (again / "link").symlink_to("/dev/zero")
    note = json.loads((again / "finished.json").read_text())
    note["files"][name] = [0, ""]
    (again / "finished.json").write_text(json.dumps(note))
    assert known(small_cache, again) == f"{name} is not as it was written"


def test_another_question_other_data_or_another_version_is_not_taken_for_it(
    judged: Path, small_cache: Path, tmp_path: Path
) -> None:
    assert known(small_cache, judged, seeds=(0, 1)) == ""
    moved = Path(shutil.copytree(small_cache, tmp_path / "cache"))
    assert known(moved, judged) == ""
    assert not isinstance(known(small_cache, judged, workers=2, device="cpu"), str)  # machinery decides nothing
    code, versions = makers()
    same = job(small_cache, judged)
    assert not isinstance(recall(same, open_job(same), (code, versions)), str)
    for other in ((code, {**versions, "scikit-learn": "0"}), ("other", versions)):
        assert recall(same, open_job(same), other) == ""
