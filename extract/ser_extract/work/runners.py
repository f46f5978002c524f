"""Runners: who calls the one idempotent function `ShardProcessor.process` on each unit of work, and where.

A runner hands out ids and hashes, never arrays, and what it says is not believed: what counts is the commits. Whatever dies
on the way, `Extraction` lists the commits again and gives out what is missing. `--part i/N` needs no runner of its own: it
is one process per part (SLURM arrays, shells), each with the runner `local`.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

from ser_base import ray_pool
from ser_base.catalog import Catalog
from ser_base.machine import each_device, resolve_device, usable_cores
from ser_extract.work.shard import Assignment, ShardProcessor, UnitResult
from ser_extract.work.units import Unit
from ser_extract.work.workers import ACCELERATOR_THREADS, run_in_workers

# Ctrl-C once: finish what is in hand; twice, or SIGTERM: drop it. What is committed stays in either case.
INTERRUPTED = 130
"""Exit code of an interrupted run."""


class Stop:
    """Installs handlers while it is entered; does nothing outside the main thread.

    Attributes:
        level: 0: go on; 1: give out nothing more; 2: drop everything.
        raise_at: Level from which the handler itself raises KeyboardInterrupt: 1 while nothing is in hand, 2 while work
            runs in this process, 3 (never) while a pool looks at `level`.
    """

    def __init__(self, on_level: Callable[[int], None] = lambda level: None) -> None:
        self.level = 0
        self.raise_at = 1
        self._on_level = on_level
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.level = 2 if number == signal.SIGTERM else min(self.level + 1, 2)
        if self.level >= self.raise_at:
            raise KeyboardInterrupt
        self._on_level(self.level)


Progress = Callable[[str, int, float], None]
"""(modality, utterances, audio seconds) that are done now."""


class Runner(Protocol):
    """Processes units, in any order and anywhere."""

    def __call__(
        self, assignment: Assignment, units: Sequence[Unit], stop: Stop, progress: Progress
    ) -> Iterator[UnitResult]:
        """Yields the result of each unit as it is known.

        A unit without a result is found by its missing commits and given out again, so a lost worker is no error. A worker
        that dies again and again must not stop the rest: the utterance that kills it is recorded as failed.

        Args:
            assignment: What a worker needs before its first unit; picklable.
            units: The work.
            stop: Looked at between units; a runner sets `stop.raise_at` to what fits it.
            progress: Told of what is done.

        Raises:
            ExtractError, CorpusError, CacheError: As `ShardProcessor.process` raised them in a worker.
        """
        ...


RUNNERS: Catalog[Runner] = Catalog(
    "runner", {"local": "ser_extract.work.runners:run_local", "ray": "ser_extract.work.runners:run_ray"}
)

DECODERS = 8
"""Decoder processes of one card at most; wav at 16 kHz needs one or two of them."""


def run_local(assignment: Assignment, units: Sequence[Unit], stop: Stop, progress: Progress) -> Iterator[UnitResult]:
    """Runs units in as many processes of this machine as the job asks for; see `Runner`."""
    devices, workers = each_device(assignment.job.device), assignment.job.worker_count()
    if workers == 0:
        stop.raise_at = 2
        return run_here(assignment, units, stop, progress)
    stop.raise_at = 3
    if not assignment.job.on_cpu:
        assignment = replace(assignment, decoders=min(DECODERS, max(1, usable_cores() // workers)))
    return run_in_workers(assignment, units, workers, devices, lambda: stop.level, progress)


def run_here(assignment: Assignment, units: Sequence[Unit], stop: Stop, progress: Progress) -> Iterator[UnitResult]:
    """Runs units in this process (`--workers 0`), for debugging: no isolation, no restart, torch's own number of threads."""
    import torch

    processor = ShardProcessor(assignment, torch.get_num_threads())
    try:
        for unit in units:
            if stop.level:
                return
            yield processor.process(unit, partial(progress, unit.modality))
    finally:
        processor.close()


# The runner `ray`: Ray Data on this machine or on a cluster.
#
# Each unit is one task of an actor pool; an actor loads the models once. Ray restarts actors that die and gives their unit out
# again twice. What is left then (an utterance that kills its process, an error of Ray's own) goes through one local worker
# process, which isolates the utterance. Nothing but ids, hashes and results passes through Ray; rows go from the actor to the
# cache, which every node must reach under the same path, as it must the corpus and local encoder folders.
class Worker(ray_pool.Actor):
    """What an actor holds: engines, decoder and writers, made once.

    Args:
        assignment: Job and encoders.
    """

    def __init__(self, assignment: Assignment) -> None:
        import torch

        threads = 1 if resolve_device(assignment.job.device) == "cpu" else ACCELERATOR_THREADS
        torch.set_num_threads(threads)
        self.processor = ShardProcessor(assignment, threads)

    def do(self, unit: Unit) -> UnitResult:
        """Encodes and commits a unit."""
        return self.processor.process(unit)


def run_ray(assignment: Assignment, units: Sequence[Unit], stop: Stop, progress: Progress) -> Iterator[UnitResult]:
    """Runs units on Ray, and what Ray could not finish in a local worker process; see `Runner`."""
    job = assignment.job
    assignment = replace(
        assignment, job=job.model_copy(update={"cache": job.cache.absolute()})
    )  # actors live elsewhere
    gpus = job.ray_gpus if job.ray_gpus is not None else float(resolve_device(job.device) != "cpu")
    left = {unit.key: unit for unit in units}
    with ray_pool.session(job.ray_address, usable_cores()) as ray:
        stop.raise_at = 2
        workers = job.workers or ray_pool.room(ray, gpus)
        for result in ray_pool.results(ray, Worker, (assignment,), units, workers=workers, gpus=gpus):
            unit = left.pop(result.key, None)
            if unit is not None:
                progress(unit.modality, len(unit.ids), unit.seconds)
                yield result
            if stop.level:
                return
    if left:
        alone = replace(assignment, job=assignment.job.model_copy(update={"workers": 1}))
        yield from run_local(alone, list(left.values()), stop, progress)
