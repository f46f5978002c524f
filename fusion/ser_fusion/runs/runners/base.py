"""The contract of a runner of stage two, and how it fails."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from ser_base.machine import resolve_device, usable_cores
from ser_base.workers import Server
from ser_fusion.errors import FusionError, RecordBroken, RecordMissing, RunUnreadable
from ser_fusion.evaluation.records import Started, read_record
from ser_fusion.runs.memory import asked_jobs

if TYPE_CHECKING:
    from ser_fusion.runs.estimate import Estimate
    from ser_fusion.runs.job import FuseJob
    from ser_fusion.runs.job_data import JobData
    from ser_fusion.runs.task import Task

OnDone = Callable[["Task", float], None]
OnEstimate = Callable[["Estimate"], None]


ONE = "1"
"""Thread of a worker process: the same sums in the same order, however many workers there are."""
JUDGES = ("sklearn.metrics", "scipy.stats", "statsmodels.stats.multitest", "ser_fusion.reporting.plots", "jinja2")
"""Modules that judging a run loads where it needs them."""


def server(forks: bool) -> Server:
    """Starts the workers of a run, with the libraries that a training needs."""
    return Server(["torch", "ser_fusion.runs.folder"], forks=forks)


@contextmanager
def threads(count: str | None) -> Iterator[None]:
    """Within it ``OMP_NUM_THREADS`` is so much, which libraries read when they are loaded; None: not set."""
    name = "OMP_NUM_THREADS"
    before = os.environ.pop(name, None)
    if count is not None:
        os.environ[name] = count
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def load_judges() -> None:
    """Loads the libraries that judge a run; done while the last trainings end, it costs a user nothing."""
    for name in JUDGES:
        import_module(name)


@contextmanager
def ahead(job: "FuseJob") -> Iterator[None]:
    """Loads the workers' libraries while this process loads its own and plans; ends their server with the run.

    Not where the run directory seems to hold a finished run of this very job.
    """
    workers = usable_cores() if job.workers is None else job.workers
    if job.runner != "local" or workers < 2 or resolve_device(job.device) != "cpu" or stands(job):
        yield
        return
    starter = server(forks=True)
    with threads(ONE):
        starter.ahead()
    try:
        yield
    finally:
        starter.end()


def stands(job: "FuseJob") -> bool:
    """Whether the run directory seems to hold a finished run of this very job; ``recall`` looks closer."""
    try:
        old = read_record(job.out / "run.json", Started)
        return bool(old.get("finished")) and job in asked_jobs(job.out, old, job.model_dump(mode="json"))
    except (RecordMissing, RecordBroken, RunUnreadable):
        return False


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
