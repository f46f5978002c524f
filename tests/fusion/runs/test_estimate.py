"""How long a run will take is told before it trains, changes nothing, and names a stride where it is long."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ser_fusion.runs import estimate as module
from ser_fusion.runs.estimate import Estimate, estimate, is_brief, sample_of, sampled, steps_of
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.listener import Listener
from ser_fusion.runs.prepare import Prepared, prepare, train_all
from ser_fusion.runs.task import names_of, read_frames


def prepared(cache: Path, out: Path, **options: Any) -> Prepared:
    given = {"fusion": ("concat", "text", "cross"), "epochs": 3, "workers": 0, "device": "cpu", "batch": 16}
    return prepare(FuseJob(cache=cache, out=out, **{**given, **options}))


class Asking(Listener):
    """Wants to know."""

    estimates = True

    def __init__(self) -> None:
        self.told: list[Estimate] = []
        self.jobs_before: list[int] = []
        self.jobs = 0

    def estimate(self, estimate: Estimate) -> None:
        self.told.append(estimate)
        self.jobs_before.append(self.jobs)

    def job(self, task: Any, seconds: float) -> None:
        self.jobs += 1


@pytest.mark.parametrize("workers", [0, 2])
def test_it_is_told_before_the_first_job_and_changes_nothing(
    small_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(module, "FEW_STEPS", 100)
    asking = Asking()
    first = prepared(small_cache, tmp_path / "asked", workers=workers)
    train_all(first, asking)
    assert len(asking.told) == 1 and asking.jobs_before == [0] and asking.jobs == 9
    assert 0 < asking.told[0].seconds < 300 and asking.told[0].stride is None
    assert asking.told[0].workers == max(1, workers)
    train_all(prepared(small_cache, tmp_path / "quiet", workers=workers))
    for task in first.tasks:
        name = f"{task.folder}/test.parquet"
        pd.testing.assert_frame_equal(
            pd.read_parquet(tmp_path / "asked" / name), pd.read_parquet(tmp_path / "quiet" / name)
        )


def test_a_run_of_some_seconds_is_not_timed(small_cache: Path, tmp_path: Path) -> None:
    def brief(**options: Any) -> bool:
        made = prepared(small_cache, tmp_path / f"{options}", **options)
        return is_brief(made.job, made.job_data, made.tasks)

    asking = Asking()
    train_all(prepared(small_cache, tmp_path / "asked"), asking)
    assert asking.jobs == 9 and not asking.told and brief()
    assert not brief(epochs=30) and not brief(tune=20, inner=2)


def test_long_utterances_are_timed(small_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {k: prepared(small_cache, tmp_path / f"run{k}", fusion=("audio",), stride=k) for k in (1, 8)}
    steps = sum(steps_of(task) for task in made[1].tasks)
    lengths = made[1].study.layers["audio"][0].lengths(list(made[1].study.table.index))
    monkeypatch.setattr(module, "FEW_FRAMES", steps * 16 * float(np.mean(lengths)) - 1)
    assert [is_brief(made[k].job, made[k].job_data, made[k].tasks) for k in (1, 8)] == [False, True]


@pytest.mark.parametrize(
    "options",
    [
        {"early_stopping": True},
        {"tune": 2, "inner": 2},
        {"fusion": ("late-calibrated",), "re_pair": True},
        {"contrastive": 0.1, "loss": "focal", "mixup": 0.2, "preset": ("as-found",)},
    ],
)
def test_every_kind_of_training_can_be_timed(small_cache: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    made = prepared(small_cache, tmp_path / "run", **options)
    found = estimate(made.job, made.job_data, made.tasks, names_of(made.study, made.tasks), 1)
    assert 0 < found.seconds < 3600 and found.stops == any(t.plan.training.patience is not None for t in made.tasks)


def test_steps_are_counted_with_refit_and_search(small_cache: Path, tmp_path: Path) -> None:
    task = prepared(small_cache, tmp_path / "run", refit=True).tasks[0]  # 40 train, 40 develop
    scoring = module.SCORING * 40 / 16
    assert steps_of(task) == pytest.approx(3 * (3 + scoring) + 3 * 5)
    alone = replace(task, plan=replace(task.plan, refit=False))
    assert steps_of(alone) == pytest.approx(3 * (3 + scoring))
    searched = prepared(small_cache, tmp_path / "tuned", refit=False, tune=2, inner=2).tasks[0]
    assert searched.search is not None
    one = [
        3 * (-(-len(cut["train"]) // 16) + module.SCORING * len(cut["dev"]) / 16) for cut in searched.search.inner.folds
    ]
    assert steps_of(searched) == pytest.approx(3 * (3 + scoring) + 2 * sum(one))


def test_a_long_run_names_the_stride_that_makes_it_short(small_cache: Path, tmp_path: Path) -> None:
    made = prepared(small_cache, tmp_path / "run", fusion=("cross",), stride=2)
    steps = sum(map(steps_of, made.tasks))

    def slow(task: Any, job_data: Any, frames: Any, thin: int) -> float:
        return (100 + 900 / thin) / steps  # 1,000 s, of which 100 do not depend on the frames

    found = estimate(made.job, made.job_data, made.tasks, ["audio", "text"], 1, slow)
    assert found.seconds == pytest.approx(1000) and found.stride == 2 * 8 and found.faster == pytest.approx(212.5)
    assert "about 17 min on 1 process" in str(found) and "With --stride 16 it would take about 4 min." in str(found)
    text = prepared(small_cache, tmp_path / "text", fusion=("text",))
    assert estimate(text.job, text.job_data, text.tasks, ["text"], 1, slow).stride is None  # nothing to shorten


def test_a_sample_holds_the_frames_of_its_utterances(small_cache: Path, tmp_path: Path) -> None:
    made = prepared(small_cache, tmp_path / "run")
    frames = read_frames(made.job, made.study, ["audio", "text"])
    rows = np.array([7, 3])
    for name, thin, step in (("audio", 1, 1), ("audio", 4, 4), ("text", 4, 1)):
        whole, few = frames[name], sampled(frames[name], rows, thin)
        for number, row in enumerate(rows):
            own = whole.layers[0][whole.offsets[row] : whole.offsets[row + 1]][::step]
            assert np.array_equal(few.layers[0][few.offsets[number] : few.offsets[number + 1]], own)
            assert few.lengths[number] == len(own)


def test_it_needs_no_more_frames_than_the_sample(small_cache: Path, tmp_path: Path) -> None:
    made = prepared(small_cache, tmp_path / "run")
    rows, names = sample_of(made.tasks), names_of(made.study, made.tasks)
    assert len(rows) < len(made.study.table)
    whole, few = (read_frames(made.job, made.study, names, rows=which) for which in (None, rows))
    for name in names:
        assert few[name].lengths.sum() == whole[name].lengths[rows].sum() < whole[name].lengths.sum()
        one, other = (sampled(frames[name], rows) for frames in (whole, few))
        assert np.array_equal(one.layers[0], other.layers[0]) and np.array_equal(one.content, other.content)
        assert np.array_equal(one.means, other.means) and np.array_equal(one.variances, other.variances)
    assert 0 < estimate(made.job, made.job_data, made.tasks, names, 1).seconds < 300
