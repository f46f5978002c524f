"""Libraries loaded ahead: the workers' while a run is planned, the judges' while the last trainings end, the drawers' while it is judged.

Light itself, as the workers' server is started before this process loads pandas.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from ser_base.machine import resolve_device, usable_cores
from ser_base.workers import Server
from ser_fusion.errors import RecordBroken, RecordMissing, RunUnreadable
from ser_fusion.evaluation.records import Started, read_record
from ser_fusion.runs.job import FuseJob, asked_jobs

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
def ahead(job: FuseJob) -> Iterator[None]:
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


def stands(job: FuseJob) -> bool:
    """Whether the run directory seems to hold a finished run of this very job; ``recall`` looks closer."""
    try:
        old = read_record(job.out / "run.json", Started)
        return bool(old.get("finished")) and job in asked_jobs(job.out, old, job.model_dump(mode="json"))
    except (RecordMissing, RecordBroken, RunUnreadable):
        return False


@contextmanager
def drawers(rows: int, processes: int) -> Iterator[None]:
    """Loads what draws a report while this process still judges; only where a run has plots for several processes.

    Args:
        rows: Rows of the table that have plots: about three each.
        processes: How many may draw.
    """
    from ser_fusion.reporting.plots import DRAWING, FEW

    if processes < 2 or rows * 3 < 2 * FEW:
        yield
        return
    starter = Server(DRAWING, forks=True)
    starter.ahead()
    try:
        yield
    finally:
        starter.end()
