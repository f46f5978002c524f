"""The runner `ray`: Ray Data on this machine or on a cluster.

Each unit is one task of an actor pool; an actor loads the models once. Ray restarts actors that die and gives their unit out
again twice. What is left then (an utterance that kills its process, an error of Ray's own) goes through one local worker
process, which isolates the utterance. Nothing but ids, hashes and results passes through Ray; rows go from the actor to the
cache, which every node must reach under the same path, as it must the corpus and local encoder folders.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ser_base import ray_pool
from ser_base.machine import resolve_device, usable_cores
from ser_extract.work.runners.base import Progress, Stop
from ser_extract.work.shard import Assignment, ShardProcessor, UnitResult
from ser_extract.work.units import Unit
from ser_extract.work.workers import ACCELERATOR_THREADS


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


def run(assignment: Assignment, units: Sequence[Unit], stop: Stop, progress: Progress) -> Iterator[UnitResult]:
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
        from ser_extract.work.runners.local import run as run_locally

        alone = replace(assignment, job=assignment.job.model_copy(update={"workers": 1}))
        yield from run_locally(alone, list(left.values()), stop, progress)
