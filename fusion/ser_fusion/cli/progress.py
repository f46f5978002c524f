"""How a run is shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ser_base.progress import display
from ser_fusion.runs.listener import Listener

if TYPE_CHECKING:
    from ser_fusion.runs.estimate import Estimate
    from ser_fusion.runs.task import Task
    from ser_fusion.study.open import Study

PHASE = "training"


class Shown(Listener):
    """Shows jobs as they are done; time left from the mean time of a job so far."""

    estimates = True

    def __init__(self) -> None:
        self.display = display()

    def study(self, study: "Study", trainings: int, done: int) -> None:
        say, folds = self.display.note, study.folds
        counts = ", ".join(f"{name} {n:,}" for name, n in study.counts.items())
        title = study.info.title or study.info.name
        say(f"{len(study.table):,} utterances of {title} ({counts}); {len(study.excluded):,} left out.")
        say(f"Protocol {folds.protocol}, {len(folds.folds)} folds, development part: {folds.dev}.")
        for note in study.notes:
            say(f"Note: {note}")
        again = f", {done:,} of them done already" if done else ""
        say(f"{trainings:,} jobs (row, fold, seed){again}.")
        self.todo = trainings - done
        self._begin()

    def estimate(self, estimate: "Estimate") -> None:
        self.display.note(str(estimate))
        self._begin()

    def _begin(self) -> None:
        if self.todo:
            self.display.begin(PHASE, self.todo, unit="jobs", also=("epochs",))

    def epoch(self) -> None:
        self.display.also(PHASE, "epochs")

    def job(self, task: "Task", seconds: float) -> None:
        self.display.advance(PHASE, last=f"{task.row.name}, fold {task.fold_name}: {seconds:.1f} s")

    def step(self, name: str) -> None:
        self.display.end()
        self.display.note(f"{name} ...")


@contextmanager
def listener() -> Iterator[Listener]:
    """A bar on a terminal, lines elsewhere."""
    shown = Shown()
    try:
        yield shown
    finally:
        shown.display.end()
