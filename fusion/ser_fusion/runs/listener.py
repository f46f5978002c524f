"""What a run tells whoever watches it; without torch, so that a command can watch from its first second."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ser_fusion.runs.estimate import Estimate
    from ser_fusion.runs.task import Task
    from ser_fusion.study.open import Study


class Listener:
    """Receives the progress of a run; the command shows it, tests ignore it.

    Attributes:
        estimates: Whether the time of training is wanted; it costs up to some seconds.
    """

    estimates = False

    def study(self, study: "Study", trainings: int, done: int) -> None:
        """The study is open: the number of trainings, and how many of them are already done."""

    def estimate(self, estimate: "Estimate") -> None:
        """Nothing is trained yet, and this is how long it will take; not told of a run of up to half a minute."""

    def epoch(self) -> None:
        """Some job finished an epoch."""

    def job(self, task: "Task", seconds: float) -> None:
        """A job is done."""

    def step(self, name: str) -> None:
        """Another long step begins."""
