"""How a run is shown: a bar with time left on a terminal, plain lines elsewhere; always on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ser_fusion.runs.listener import Listener

if TYPE_CHECKING:
    from ser_fusion.runs.estimate import Estimate
    from ser_fusion.runs.task import Task
    from ser_fusion.study.open import Study


@contextmanager
def listener() -> Iterator[Listener]:
    """A bar on a terminal, lines elsewhere."""

    class Shown(Listener):
        """Draws jobs as they are done; time left from the mean time of a job so far."""

        estimates = True

        def __init__(self) -> None:
            self.bar: Any = None
            self.bar_task: Any = None
            self.began = time.monotonic()
            self.total = self.done = 0
            self.epochs = 0
            self.last_line = 0.0

        def study(self, study: "Study", trainings: int, done: int) -> None:
            counts = ", ".join(f"{name} {n:,}" for name, n in study.counts.items())
            folds = len(study.folds.folds)
            say(
                f"{len(study.table):,} utterances of {study.info.title or study.info.name} ({counts}); {len(study.excluded):,} left out."
            )
            say(f"Protocol {study.folds.protocol}, {folds} folds, development part: {study.folds.dev}.")
            for note in study.notes:
                say(f"Note: {note}")
            again = f", {done:,} of them done already" if done else ""
            say(f"{trainings:,} jobs (row, fold, seed){again}.")
            self.total, self.began = trainings - done, time.monotonic()
            if self.total and sys.stderr.isatty():
                self._start()

        def estimate(self, estimate: "Estimate") -> None:
            say(str(estimate)) if self.bar is None else self.bar.console.print(str(estimate))
            self.began = time.monotonic()

        def _start(self) -> None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self.bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("jobs,"),
                TextColumn("{task.fields[epochs]:,} epochs,"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                console=Console(stderr=True),
            )
            self.bar_task = self.bar.add_task("training", total=self.total, epochs=0, left="")
            self.bar.start()

        def left(self) -> str:
            if not self.done:
                return ""
            seconds = (time.monotonic() - self.began) / self.done * (self.total - self.done)
            return f"about {seconds:.0f} s left" if seconds < 90 else f"about {seconds / 60:.0f} min left"

        def epoch(self) -> None:
            self.epochs += 1
            if self.bar is not None:
                self.bar.update(self.bar_task, epochs=self.epochs)

        def job(self, task: "Task", seconds: float) -> None:
            self.done += 1
            if self.bar is not None:
                self.bar.update(self.bar_task, completed=self.done, left=self.left())
                return
            now = time.monotonic()
            if now - self.last_line > 10 or self.done == self.total:
                self.last_line = now
                say(
                    f"{self.done:,} of {self.total:,} jobs, {self.left()} ({task.row.name}, fold {task.fold_name}: {seconds:.1f} s)"
                )

        def step(self, name: str) -> None:
            self.stop()
            say(f"{name} ...")

        def stop(self) -> None:
            if self.bar is not None:
                self.bar.stop()
                self.bar = None

    shown = Shown()
    try:
        yield shown
    finally:
        shown.stop()


def say(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)
