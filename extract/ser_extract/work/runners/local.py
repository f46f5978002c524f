"""The runner `local`: worker processes of this machine, or this process itself with `--workers 0`."""

from collections.abc import Iterator, Sequence

from ser_base.machine import resolve_device
from ser_extract.work.runners.base import Progress
from ser_extract.work.shard import Assignment, UnitResult
from ser_extract.work.signals import Stop
from ser_extract.work.units import Unit


def run(assignment: Assignment, units: Sequence[Unit], stop: Stop, progress: Progress) -> Iterator[UnitResult]:
    """Runs units in as many processes as the job asks for; see `Runner`."""
    device = resolve_device(assignment.job.device)
    workers = assignment.job.worker_count(device)
    if workers == 0:
        from ser_extract.work.local import run_here

        stop.raise_at = 2
        return run_here(assignment, units, stopping=lambda: stop.level, progress=progress)
    from ser_extract.work.workers import Pool

    stop.raise_at = 3
    pool = Pool(assignment, workers, ahead=0 if device == "cpu" else 1, stopping=lambda: stop.level, progress=progress)
    return pool.run(units)
