"""The one display of what goes on: bars on a terminal, a line now and then elsewhere, or JSON lines; always on stderr.

Where stderr is closed or full, nobody asked for messages, and the work goes on.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

LINE_SECONDS = 10.0
"""Seconds between two lines of one phase."""
JSON_SECONDS = 0.5


def say(text: str, stream: TextIO | None = None) -> None:
    """One line for people, on stderr."""
    target = stream or sys.stderr
    if target is not None:
        with suppress(OSError, ValueError):
            print(text, file=target, flush=True)


def duration(seconds: float) -> str:
    """`8 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Phase:
    """Counts of one step of the work, and the words for them.

    Attributes:
        done: Of `total`, in `unit`.
        done_seconds: Of `seconds`: audio or video behind what is done.
        also: Further counts by name, as `saved`; a phase without any is of no interest once it is complete.
        last: What was done last, in words.
    """

    def __init__(
        self, name: str, total: int, seconds: float, unit: str, also: Sequence[str], clock: Callable[[], float]
    ) -> None:
        self.name, self.total, self.seconds, self.unit, self._clock = name, total, seconds, unit, clock
        self.done, self.done_seconds, self.last = 0, 0.0, ""
        self.also = dict.fromkeys(also, 0)
        self.started = self.shown = clock()

    @property
    def elapsed(self) -> float:
        return self._clock() - self.started

    @property
    def whole(self) -> bool:
        return self.done >= self.total

    @property
    def share(self) -> float:
        """0 to 1, by seconds of audio or video where there are any."""
        all_of_it, part = (self.seconds, self.done_seconds) if self.seconds else (self.total, self.done)
        return min(part / all_of_it, 1.0) if all_of_it else 1.0

    @property
    def left(self) -> float | None:
        """Seconds still to go at the mean pace so far."""
        return self.elapsed / self.share - self.elapsed if self.share > 0 else None

    @property
    def pace(self) -> str:
        """`12.3 audio s/s`, `45 utterances/s`, `8 MB/s`, or `2.5 s each` where one takes longer than a second."""
        rate = self.done / max(self.elapsed, 1e-9)
        if self.seconds:
            kind = "video" if self.name == "video" else "audio"
            return f"{self.done_seconds / max(self.elapsed, 1e-9):.1f} {kind} s/s"
        if self.unit == "bytes":
            return f"{rate / 1e6:.0f} MB/s"
        return f"{rate:.0f} {self.unit}/s" if rate >= 1 or not self.done else f"{1 / rate:.1f} s each"

    @property
    def count(self) -> str:
        """`20 of 100 utterances`."""
        if self.unit == "bytes":
            return f"{self.done / 1e6:,.0f} of {self.total / 1e6:,.0f} MB"
        return f"{self.done:,} of {self.total:,} {self.unit}"

    def words(self) -> list[str]:
        """Pace, time left and further counts."""
        left = [] if self.left is None or self.whole else [f"{duration(self.left)} left"]
        return [self.pace, *left, *(f"{count:,} {name}" for name, count in self.also.items())]

    def facts(self) -> dict[str, Any]:
        """For JSON lines."""
        return {
            "phase": self.name,
            self.unit: self.done,
            "of": self.total,
            **self.also,
            "audio_seconds": round(self.done_seconds, 2),
            "of_audio_seconds": round(self.seconds, 2),
            "elapsed": round(self.elapsed, 2),
            "left": None if self.left is None else round(self.left, 1),
        }


class Display:
    """Counts, and shows nothing: for callers that do not look. The displays below draw what it counts.

    Args:
        clock: Seconds, rising.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.phases: dict[str, Phase] = {}

    def note(self, text: str) -> None:
        """One line of news."""

    def begin(
        self, name: str, total: int, seconds: float = 0.0, *, unit: str = "utterances", also: Sequence[str] = ()
    ) -> None:
        """A phase begins.

        Args:
            name: What is done, as `hash audio`.
            total: How many of `unit`; bytes are shown as MB.
            seconds: Of audio or video in all, where the share done goes by them.
            unit: What is counted.
            also: Names of further counts.
        """
        self.phases[name] = Phase(name, total, seconds, unit, also, self._clock)
        self._show(self.phases[name], "begin")

    def advance(self, name: str, count: int = 1, seconds: float = 0.0, last: str = "") -> None:
        """So many more are done; `last` says what was done last."""
        phase = self.phases[name]
        phase.done, phase.done_seconds, phase.last = phase.done + count, phase.done_seconds + seconds, last
        self._show(phase, "advance")

    def also(self, name: str, what: str, count: int = 1) -> None:
        """Adds to a further count of a phase, as `saved`: on disk, so that a kill does not lose them."""
        self.phases[name].also[what] += count
        self._show(self.phases[name], what)

    def end(self) -> None:
        """Nothing more will come."""

    def _show(self, phase: Phase, event: str) -> None:
        """Draws a phase after `begin`, `advance`, or a further count of that name."""


class Lines(Display):
    """A line now and then: at most one per phase and `LINE_SECONDS`, and one when the phase is complete."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._stream = stream

    def note(self, text: str) -> None:
        say(text, self._stream)

    def _show(self, phase: Phase, event: str) -> None:
        now = self._clock()
        due = now - phase.shown >= LINE_SECONDS or (phase.whole and phase.elapsed > 2)
        if event == "advance" and due:
            phase.shown = now
            words = phase.words()[:1] if phase.whole else phase.words()  # the rest is being saved: a summary follows
            last = f" ({phase.last})" if phase.last else ""
            self.note(f"{phase.name}: {', '.join([phase.count, f'{100 * phase.share:.0f} %', *words])}{last}")


class JsonLines(Lines):
    """One JSON object per line. Of a phase's advances the first, the last, and two a second."""

    def note(self, text: str) -> None:
        self._write("note", {"text": text})

    def _show(self, phase: Phase, event: str) -> None:
        now = self._clock()
        first = phase.shown == phase.started
        if event != "advance" or first or phase.whole or now - phase.shown >= JSON_SECONDS:
            phase.shown = now if event == "advance" else phase.shown
            self._write(event, phase.facts())

    def _write(self, event: str, facts: dict[str, Any]) -> None:
        say(json.dumps({"event": event, "time": round(time.time(), 3), **facts}, ensure_ascii=False), self._stream)


class Bars(Display):
    """rich's bars."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        super().__init__()
        columns = (TextColumn("{task.description:8}"), BarColumn(), TextColumn("{task.fields[words]}"))
        self._bars = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))
        self._tasks: dict[str, Any] = {}

    def note(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)

    def _show(self, phase: Phase, event: str) -> None:
        if phase.name not in self._tasks:
            self._bars.start()
            self._tasks[phase.name] = self._bars.add_task(phase.name, words="")
        elif event == "begin":
            self._bars.reset(self._tasks[phase.name])
        words = ", ".join([phase.count, *phase.words()])
        seen = bool(phase.also) or not phase.whole
        self._bars.update(self._tasks[phase.name], total=phase.total, completed=phase.done, words=words, visible=seen)

    def end(self) -> None:
        self._bars.stop()


def display(log_json: bool = False) -> Display:
    """JSON lines if asked for, bars on a terminal, plain lines elsewhere."""
    if log_json:
        return JsonLines()
    return Bars() if sys.stderr is not None and sys.stderr.isatty() else Lines()


@contextmanager
def counting(what: str, unit: str = "files") -> Iterator[Callable[[int, int], None]]:
    """Gives a function to be called with done and all.

    Args:
        what: What is done, as `Writing turns`.
        unit: What is counted.
    """
    shown = display()

    def show(done: int, total: int) -> None:
        if what not in shown.phases:
            shown.begin(what, total, unit=unit)
        shown.phases[what].total = total
        shown.advance(what, done - shown.phases[what].done)

    try:
        yield show
    finally:
        shown.end()


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Says on a terminal that something goes on whose length nobody knows; elsewhere nothing."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield
