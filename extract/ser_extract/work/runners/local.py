"""The runner `local`: worker processes of this machine, or this process itself with `--workers 0`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from ser_base.machine import each_device, usable_cores
from ser_extract.work.runners.base import Progress, Stop
from ser_extract.work.shard import Assignment, ShardProcessor, UnitResult
from ser_extract.work.units import Unit

DECODERS = 8
"""Decoder processes of one card at most; wav at 16 kHz needs one or two of them."""


# The work in this process: no isolation, no restart; `--workers 0`, for debugging and for tests.
def run_here(
    assignment: Assignment,
    units: Sequence[Unit],
    *,
    stopping: Callable[[], int] = lambda: 0,
    progress: Callable[[str, int, float], None] = lambda modality, utterances, seconds: None,
) -> Iterator[UnitResult]:
    """Yields a result per unit; between units it looks at the stop signal. Uses torch's own number of threads."""
    import torch

    processor = ShardProcessor(assignment, torch.get_num_threads())
    try:
        for unit in units:
            if stopping():
                return
            yield processor.process(unit, partial(progress, unit.modality))
    finally:
        processor.close()


def run(assignment: Assignment, units: Sequence[Unit], stop: Stop, progress: Progress) -> Iterator[UnitResult]:
    """Runs units in as many processes as the job asks for; see `Runner`."""
    devices = each_device(assignment.job.device)
    workers = assignment.job.worker_count()
    if workers == 0:
        stop.raise_at = 2
        return run_here(assignment, units, stopping=lambda: stop.level, progress=progress)
    from ser_extract.work.workers import Pool

    stop.raise_at = 3
    ahead = 0
    if not assignment.job.on_cpu:
        ahead, assignment = 1, replace(assignment, decoders=min(DECODERS, max(1, usable_cores() // workers)))
    pool = Pool(assignment, workers, devices=devices, ahead=ahead, stopping=lambda: stop.level, progress=progress)
    return pool.run(units)
