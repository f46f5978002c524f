"""The contract of a runner."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from ser_extract.work.shard import Assignment, UnitResult
    from ser_extract.work.units import Unit


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

    def __init__(self, told: Callable[[int], None] = lambda level: None) -> None:
        self.level = 0
        self.raise_at = 1
        self._told = told
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
        self._told(self.level)


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
