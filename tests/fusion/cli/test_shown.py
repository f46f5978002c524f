"""What a run of `ser fuse` shows: its ground, then jobs and epochs, on a terminal and off it."""

from types import SimpleNamespace
from typing import Any

import pytest

from ser_base.progress import Bars, Display, Lines
from ser_fusion.cli.fuse import PHASE, Shown

STUDY: Any = SimpleNamespace(
    table=range(10),
    info=SimpleNamespace(title="Demo", name="demo"),
    counts={"ang": 4, "neu": 6},
    excluded=["u07"],
    folds=SimpleNamespace(folds=(0, 1), protocol="session", dev="speaker"),
    notes=["u07 has no audio."],
)
TASK: Any = SimpleNamespace(row=SimpleNamespace(name="cross"), fold_name="1")


@pytest.mark.parametrize("kind", [Lines, Bars])
def test_jobs_and_epochs_are_counted_and_steps_named(kind: type[Display], capsys: pytest.CaptureFixture[str]):
    shown = Shown()
    shown.display = kind()
    shown.study(STUDY, trainings=4, done=1)
    shown.estimate("About 3 minutes.")  # type: ignore[arg-type]
    for _ in range(5):
        shown.epoch()
    shown.job(TASK, 1.2)
    phase = shown.display.phases[PHASE]
    assert (phase.done, phase.total, phase.unit, phase.also) == (1, 3, "jobs", {"epochs": 5})
    assert phase.last == "cross, fold 1: 1.2 s"
    shown.step("Statistics")
    told = capsys.readouterr().err
    for words in (
        "10 utterances of Demo (ang 4, neu 6); 1 left out.",
        "Protocol session, 2 folds, development part: speaker.",
        "Note: u07 has no audio.",
        "4 jobs (row, fold, seed), 1 of them done already.",
        "About 3 minutes.",
        "Statistics ...",
    ):
        assert words in told


def test_a_finished_run_counts_nothing(capsys: pytest.CaptureFixture[str]):
    shown = Shown()
    shown.study(STUDY, trainings=4, done=4)
    assert shown.display.phases == {}
    assert "4 of them done already" in capsys.readouterr().err
