"""Libraries loaded ahead: the workers' while a run is planned, the judges' while it is trained, the drawers' while it is judged.

Light itself, as the workers' server is started before this process loads pandas.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib import import_module
from threading import Thread

from ser_base.machine import resolve_device, usable_cores
from ser_base.workers import Server
from ser_fusion.errors import RecordBroken, RecordMissing, RunUnreadable
from ser_fusion.evaluation.records import Started, read_record
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.memory import asked_jobs

JUDGES = ("sklearn.metrics", "scipy.stats", "statsmodels.stats.multitest", "ser_fusion.reporting.plots", "jinja2")
"""Modules that judging a run loads where it needs them."""


def server(forks: bool) -> Server:
    """Starts the workers of a run, with the libraries that a training needs."""
    return Server(["torch", "ser_fusion.runs.folder"], forks, threads=1)  # the same sums in the same order


@contextmanager
def judges() -> Iterator[None]:
    """Loads meanwhile the libraries that judge a run: this process waits for workers, which load more than that.

    A library that cannot be loaded is an error where it is used.
    """

    def load() -> None:
        with suppress(ImportError):
            for name in JUDGES:
                import_module(name)

    loading = Thread(target=load, name="ser judges", daemon=True)
    loading.start()
    try:
        yield
    finally:
        loading.join()


def ahead(job: FuseJob) -> AbstractContextManager[None]:
    """Within it the workers' libraries are loaded, while this process loads its own and plans.

    Not where the run directory seems to hold a finished run of this very job.
    """
    workers = usable_cores() if job.workers is None else job.workers
    if job.runner != "local" or workers < 2 or resolve_device(job.device) != "cpu" or stands(job):
        return nullcontext()
    return server(forks=True).loading()


def stands(job: FuseJob) -> bool:
    """Whether the run directory seems to hold a finished run of this very job; ``recall`` looks closer."""
    try:
        old = read_record(job.out / "run.json", Started)
        return bool(old.get("finished")) and job in asked_jobs(job.out, old, job.model_dump(mode="json"))
    except (RecordMissing, RecordBroken, RunUnreadable):
        return False


def drawers() -> AbstractContextManager[None]:
    """Within it the libraries of processes that draw a report are loaded, while this one still judges."""
    from ser_fusion.reporting import drawing

    return drawing.server().loading()
