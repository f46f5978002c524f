"""The contract of a runner of stage two, and how it fails."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from ser_fusion.errors import FusionError

if TYPE_CHECKING:
    from ser_fusion.runs.estimate import Estimate
    from ser_fusion.runs.job import FuseJob
    from ser_fusion.runs.job_data import JobData
    from ser_fusion.runs.task import Task

OnDone = Callable[["Task", float], None]
OnEstimate = Callable[["Estimate"], None]


class Runner(Protocol):
    """Trains tasks, in any order and anywhere; what counts is the ``done.json`` that each leaves behind."""

    def __call__(
        self,
        job: "FuseJob",
        job_data: "JobData",
        todo: "Sequence[Task]",
        *,
        device: str,
        on_done: OnDone,
        on_epoch: Callable[[], None],
        on_estimate: "OnEstimate | None" = None,
    ) -> int:
        """Trains everything in ``todo`` into ``job.out``.

        Args:
            job: For the frames' options, the run directory and the number of workers.
            job_data: Whose frames, and what is learned from beside the class numbers.
            todo: Tasks that are not done yet; at least one.
            device: ``cpu`` or a GPU.
            on_done: Called with each finished task and its seconds.
            on_epoch: Called after every epoch of any task, where the runner hears of it.
            on_estimate: Called once with the time that training will take, where the runner holds the frames itself; None
                where nobody asks, or the run is brief.

        Returns:
            The number of processes used.

        Raises:
            JobFailed, WorkersDie: With finished tasks kept.
        """
        ...


class JobFailed(FusionError, RuntimeError):
    """A job raised an error."""

    folder: str
    trace: str
    got = "{folder} failed; finished jobs are kept."
    known = "{trace}"
