"""What a run says while it works: a bar per modality on a terminal, plain lines elsewhere, or JSON lines. All to stderr."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TextIO

from ser_extract.work.units import Unit

LINE_SECONDS = 10.0
JSON_SECONDS = 0.5
"""Seconds between two plain lines of one modality."""


class Reporter(Protocol):
    """What `run` calls."""

    def note(self, text: str) -> None:
        """One line of news."""
        ...

    def begin(self, phase: str, utterances: int, seconds: float) -> None:
        """A phase (`hashing`, `audio`, `text`) begins; `seconds` of audio, 0 for text."""
        ...

    def advance(self, phase: str, utterances: int, seconds: float) -> None:
        """So many more are done: hashed or encoded."""
        ...

    def saved(self, phase: str, utterances: int) -> None:
        """So many more are on disk: a kill does not lose them."""
        ...

    def end(self) -> None:
        """Nothing more will come."""
        ...


class Phase:
    """Counts of one phase, and the words for them."""

    def __init__(self, name: str, utterances: int, seconds: float) -> None:
        self.name, self.utterances, self.seconds = name, utterances, seconds
        self.done, self.done_seconds, self.saved = 0, 0.0, 0
        self.started = self.told = time.monotonic()

    def add(self, utterances: int, seconds: float) -> None:
        self.done += utterances
        self.done_seconds += seconds

    @property
    def share(self) -> float:
        """0 to 1, by audio seconds where there are any."""
        whole, part = (self.seconds, self.done_seconds) if self.seconds else (self.utterances, self.done)
        return min(part / whole, 1.0) if whole else 1.0

    @property
    def left(self) -> float | None:
        """Seconds still to go at the mean pace so far."""
        elapsed = time.monotonic() - self.started
        return elapsed / self.share - elapsed if self.share > 0 else None

    @property
    def pace(self) -> str:
        """`12.3 audio s/s`, `12.3 video s/s` or `45 utterances/s`."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        if self.seconds:
            return f"{self.done_seconds / elapsed:.1f} {'video' if self.name == 'video' else 'audio'} s/s"
        return f"{self.done / elapsed:.0f} utterances/s"

    def facts(self) -> dict[str, Any]:
        """For JSON lines."""
        return {
            "phase": self.name,
            "utterances": self.done,
            "of": self.utterances,
            "saved": self.saved,
            "audio_seconds": round(self.done_seconds, 2),
            "of_audio_seconds": round(self.seconds, 2),
            "elapsed": round(time.monotonic() - self.started, 2),
            "left": None if self.left is None else round(self.left, 1),
        }


class PlainReporter:
    """A line now and then: at most one per phase and `LINE_SECONDS`, and one when the phase is complete."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._phases: dict[str, Phase] = {}

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def begin(self, phase: str, utterances: int, seconds: float) -> None:
        self._phases[phase] = Phase(phase, utterances, seconds)

    def advance(self, phase: str, utterances: int, seconds: float) -> None:
        state = self._phases[phase]
        state.add(utterances, seconds)
        now = time.monotonic()
        if now - state.told >= LINE_SECONDS or (state.done >= state.utterances and now - state.started > 2):
            state.told = now
            left = "" if state.left is None else f", {duration(state.left)} left"
            counts = f"{state.done:,} of {state.utterances:,} utterances, {100 * state.share:.0f} %"
            whole = hashes(phase) or state.done >= state.utterances  # the rest is being saved: the summary follows
            on_disk = "" if whole else f", {state.saved:,} saved"
            self.note(f"{phase}: {counts}, {state.pace}{left}{on_disk}")

    def saved(self, phase: str, utterances: int) -> None:
        self._phases[phase].saved += utterances

    def end(self) -> None:
        self._phases = {}


class JsonReporter(PlainReporter):
    """One JSON object per line: `event` note, begin, advance or saved; of a phase's advances the first, the last, and two a second."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._last: dict[str, float] = {}

    def note(self, text: str) -> None:
        self._say("note", {"text": text})

    def begin(self, phase: str, utterances: int, seconds: float) -> None:
        super().begin(phase, utterances, seconds)
        self._last.pop(phase, None)
        self._say("begin", self._phases[phase].facts())

    def advance(self, phase: str, utterances: int, seconds: float) -> None:
        state, now = self._phases[phase], time.monotonic()
        state.add(utterances, seconds)
        if phase not in self._last or now - self._last[phase] >= JSON_SECONDS or state.done >= state.utterances:
            self._last[phase] = now
            self._say("advance", state.facts())

    def saved(self, phase: str, utterances: int) -> None:
        super().saved(phase, utterances)
        self._say("saved", self._phases[phase].facts())

    def _say(self, event: str, facts: Mapping[str, Any]) -> None:
        line = {"event": event, "time": round(time.time(), 3), **facts}
        print(json.dumps(line, ensure_ascii=False), file=self._stream, flush=True)


class BarReporter:
    """rich's bars with pace and time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description:8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[saved]}"),
            TextColumn("{task.fields[pace]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
        )
        self._phases: dict[str, tuple[Phase, Any]] = {}

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def begin(self, phase: str, utterances: int, seconds: float) -> None:
        if not self._progress.live.is_started:
            self._progress.start()
        task = self._progress.add_task(phase, total=utterances, saved="", pace="", left="")
        self._phases[phase] = Phase(phase, utterances, seconds), task

    def advance(self, phase: str, utterances: int, seconds: float) -> None:
        state, task = self._phases[phase]
        state.add(utterances, seconds)
        left = "" if state.left is None else f"{duration(state.left)} left"
        here = not (hashes(phase) and state.done >= state.utterances)  # of no interest any more
        on_disk = "" if hashes(phase) else f"{state.saved:,} saved"
        self._progress.update(task, completed=state.done, saved=on_disk, pace=state.pace, left=left, visible=here)

    def saved(self, phase: str, utterances: int) -> None:
        state, task = self._phases[phase]
        state.saved += utterances
        self._progress.update(task, saved=f"{state.saved:,} saved")

    def end(self) -> None:
        self._progress.stop()


def hashes(phase: str) -> bool:
    """Whether a phase only reads files, so that it has nothing to save."""
    return phase.startswith("hash")


def duration(seconds: float) -> str:
    """`8 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def reporter(log_json: bool) -> Reporter:
    """JSON lines if asked for, bars on a terminal, plain lines elsewhere."""
    if log_json:
        return JsonReporter()
    return BarReporter() if sys.stderr.isatty() else PlainReporter()


# How long the shards in hand may still take: what the first Ctrl-C says.
class Waiting:
    """Compares the costs of units with what was encoded so far.

    Args:
        units: The work of a run.
        workers: Processes that share it.
        clock: Seconds, rising.
    """

    def __init__(self, units: Sequence[Unit], workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[tuple[str, tuple[str, ...]], float] = {unit.key: unit.cost for unit in units}
        self._workers, self._began, self._done = max(workers, 1), clock(), 0.0
        self._each: dict[str, float] = {}
        for modality in {unit.modality for unit in units}:
            own = [unit for unit in units if unit.modality == modality]
            self._each[modality] = sum(unit.cost for unit in own) / max(sum(len(unit.ids) for unit in own), 1)

    def encoded(self, modality: str, utterances: int) -> None:
        """So many utterances are encoded."""
        self._done += utterances * self._each.get(modality, 0.0)

    def saved(self, unit: tuple[str, tuple[str, ...]]) -> None:
        """A unit is committed; its key."""
        self._left.pop(unit, None)

    @property
    def seconds(self) -> float | None:
        """At most so long, at the mean pace so far: the whole of the costliest unit that is not saved; None: unknown yet."""
        elapsed = self._clock() - self._began
        if not self._left:
            return 0.0
        return max(self._left.values()) * elapsed * self._workers / self._done if self._done else None

    def __str__(self) -> str:
        seconds = self.seconds
        return "how long is not known yet" if seconds is None else f"at most about {duration(seconds)}"
