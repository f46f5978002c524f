"""The work in this process: no isolation, no restart; `--workers 0`, for debugging and for tests."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ser_extract.work.shard import Assignment, ShardProcessor, UnitResult
from ser_extract.work.units import Unit


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
