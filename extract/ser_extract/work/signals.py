"""Ctrl-C once: finish what is in hand; twice, or SIGTERM: drop it. What is committed stays in either case."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

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
