"""A pool of actors on Ray, for the Ray runners of both stages.

Ray Data gives out one unit of work at a time, restarts actors that die and gives their unit out again `RETRIES` times. What
it could not finish is not among the results: the caller counts what is done.
"""

import os
import pickle
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ser_base.errors import PackageMissing
from ser_base.workers import portable

RETRIES = 2
"""How often Ray gives out again a unit whose actor died; its own default is without end."""


class Actor:
    """What a Ray actor holds; made once per actor. Subclasses do one unit of work."""

    def do(self, unit: Any) -> Any:
        """The result of one unit."""
        raise NotImplementedError

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """A batch of one pickled unit -> its pickled result, or the error that the driver is to raise."""
        results: list[bytes] = []
        for unit in batch["unit"]:
            try:
                result = self.do(pickle.loads(unit))
            except Exception as error:  # noqa: BLE001  # whatever it is, the driver raises it
                result = portable(error)
            results.append(pickle.dumps(result))
        return {"result": results}


@contextmanager
def session(address: str | None, cores: int) -> Iterator[Any]:
    """Ray, connected to a cluster (``--ray-address``, RAY_ADDRESS) or started on this machine and ended again.

    Args:
        address: Of the cluster; None: RAY_ADDRESS, else this machine.
        cores: That Ray may use if it is started here.

    Raises:
        PackageMissing: It is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise PackageMissing("the runner 'ray'", "ray", "ray", str(error)) from error
    ours = not ray.is_initialized()
    if ours:
        before = signal.getsignal(signal.SIGTERM)  # Ray installs a handler of its own
        joined = address or os.environ.get("RAY_ADDRESS")
        options: dict[str, Any] = {} if joined else {"num_cpus": cores}
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="WARNING", **options)
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def results(
    ray: Any, actor: type[Actor], arguments: tuple[Any, ...], units: Sequence[Any], *, workers: int, gpus: float
) -> Iterator[Any]:
    """Results as they come; ends early where Ray gives up.

    Args:
        ray: See `session`.
        actor: Its class.
        arguments: Of its constructor.
        units: The work; picklable and small.
        workers: Actors; no more than there are units.
        gpus: Per actor, fractions allowed.

    Raises:
        Exception: A result that is one.
    """
    context = ray.data.DataContext.get_current().copy()
    context.max_errored_blocks = -1  # a unit that is lost is found by what it did not leave behind
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    size = min(workers, len(units))
    with ray.data.DataContext.current(context):
        rows = ray.data.from_items([{"unit": pickle.dumps(unit)} for unit in units], override_num_blocks=len(units))
        mapped = rows.map_batches(
            actor,
            fn_constructor_args=arguments,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2 if gpus else 1),
            num_cpus=1,
            num_gpus=gpus or None,
            max_task_retries=RETRIES,
        )
        for row in mapped.iter_rows():
            result = pickle.loads(row["result"])
            if isinstance(result, Exception):
                raise result
            yield result


def room(ray: Any, gpus: float) -> int:
    """Actors that the cluster has room for."""
    resources = ray.cluster_resources()
    return max(1, int(resources.get("GPU", 0) / gpus) if gpus else int(resources.get("CPU", 1)))
