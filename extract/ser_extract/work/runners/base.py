"""The contract of a runner."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ser_extract.work.shard import Assignment, UnitResult
    from ser_extract.work.signals import Stop
    from ser_extract.work.units import Unit

Progress = Callable[[str, int, float], None]
"""(modality, utterances, audio seconds) that are done now."""


class Runner(Protocol):
    """Processes units, in any order and anywhere."""

    def __call__(
        self, assignment: "Assignment", units: "Sequence[Unit]", stop: "Stop", progress: Progress
    ) -> "Iterator[UnitResult]":
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
