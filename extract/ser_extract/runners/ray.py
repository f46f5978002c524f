"""The runner `ray`: Ray Data on this machine or on a cluster.

Each unit is one task of an actor pool; an actor loads the models once. Ray restarts actors that die and gives their unit out
again twice. What is left then (an utterance that kills its process, an error of Ray's own) goes through one local worker
process, which isolates the utterance. Nothing but ids, hashes and results passes through Ray; rows go from the actor to the
cache, which every node must reach under the same path, as it must the corpus and local encoder folders.
"""

import os
import pickle
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ser_extract.errors import ExtractError
from ser_extract.job import resolve_device, usable_cores
from ser_extract.runners.base import Progress
from ser_extract.shard import Assignment, ShardProcessor, UnitResult
from ser_extract.signals import Stop
from ser_extract.units import Unit
from ser_extract.workers import ACCELERATOR_THREADS, portable

RETRIES = 2
"""How often Ray gives out again a unit whose actor died."""


class RunnerMissing(ExtractError, ImportError):
    """A runner's library is not installed."""

    def __init__(self, runner: str, problem: str) -> None:
        super().__init__(runner, problem)
        self.runner, self.problem = runner, problem

    def __str__(self) -> str:
        return (
            f"the runner {self.runner!r} needs Ray, which cannot be imported ({self.problem}).\n"
            'Run: pip install "ser-fusion[ray]"   (or leave out --runner)'
        )


class Worker:
    """What an actor holds: engines, decoder and writers, made once.

    Args:
        assignment: Job and encoders.
    """

    def __init__(self, assignment: Assignment) -> None:
        import torch

        threads = 1 if resolve_device(assignment.job.device) == "cpu" else ACCELERATOR_THREADS
        torch.set_num_threads(threads)
        self.processor = ShardProcessor(assignment, threads)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """A batch of one pickled unit -> its pickled result, or the error that the driver is to raise."""
        told: list[bytes] = []
        for each in batch["unit"]:
            try:
                result: UnitResult | Exception = self.processor.process(pickle.loads(each))
            except Exception as error:  # noqa: BLE001  # whatever it is, the driver raises it
                result = portable(error)
            told.append(pickle.dumps(result))
        return {"result": told}


def run(assignment: Assignment, units: Sequence[Unit], stop: Stop, progress: Progress) -> Iterator[UnitResult]:
    """Runs units on Ray, and what Ray could not finish in a local worker process; see `Runner`."""
    left = {unit.key: unit for unit in units}
    with _ray(assignment.job.ray_address) as ray:
        stop.raise_at = 2
        for result in _results(ray, assignment, units):
            unit = left.pop(result.key, None)
            if unit is not None:
                progress(unit.modality, len(unit.ids), unit.seconds)
                yield result
            if stop.level:
                return
    if left:
        from ser_extract.runners.local import run as run_locally

        alone = replace(assignment, job=assignment.job.model_copy(update={"workers": 1}))
        yield from run_locally(alone, list(left.values()), stop, progress)


def _results(ray: Any, assignment: Assignment, units: Sequence[Unit]) -> Iterator[UnitResult]:
    """Results as they come; ends early where Ray gives up."""
    job = assignment.job
    gpus = job.ray_gpus if job.ray_gpus is not None else float(resolve_device(job.device) != "cpu")
    workers = job.workers or _slots(ray, gpus)
    context = ray.data.DataContext.get_current().copy()
    context.max_errored_blocks = -1  # a unit that is lost is found by its missing commit
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    with ray.data.DataContext.current(context):
        rows = ray.data.from_items([{"unit": pickle.dumps(unit)} for unit in units], override_num_blocks=len(units))
        results = rows.map_batches(
            Worker,
            fn_constructor_args=(assignment,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                size=min(workers, len(units)), max_tasks_in_flight_per_actor=2 if gpus else 1
            ),
            num_cpus=1,
            num_gpus=gpus or None,
            max_task_retries=RETRIES,  # Ray's own default is without end, and so would be an utterance that kills
        )
        for row in results.iter_rows():
            result = pickle.loads(row["result"])
            if isinstance(result, Exception):
                raise result
            yield result


def _slots(ray: Any, gpus: float) -> int:
    """Actors that the cluster has room for."""
    resources = ray.cluster_resources()
    return max(1, int(resources.get("GPU", 0) / gpus) if gpus else int(resources.get("CPU", 1)))


@contextmanager
def _ray(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster (``--ray-address``, RAY_ADDRESS) or started on this machine and ended again."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise RunnerMissing("ray", str(error)) from error
    ours = not ray.is_initialized()
    if ours:
        before = signal.getsignal(signal.SIGTERM)  # Ray installs a handler of its own
        joined = address or os.environ.get("RAY_ADDRESS")
        options: dict[str, Any] = {} if joined else {"num_cpus": usable_cores()}
        ray.init(
            address=address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="WARNING",
            **options,
        )
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()
