"""What goes through the encoders at once: a recording, or one window of a long one; and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_data.media.audio import AudioError, quiet

# Long recordings as overlapping windows about as long as the utterances that the heads were trained on.
SHORTEST_WINDOW = 2.0
"""Seconds; below, a window holds too little speech for any label to mean something."""


@dataclass(frozen=True, slots=True)
class Windowing:
    """How recordings are cut.

    Attributes:
        longest: Seconds; recordings up to this are one utterance.
        window: Seconds of one window.
        hop: Seconds from one window's start to the next.
    """

    longest: float
    window: float
    hop: float

    def cut(self, seconds: float) -> list[tuple[float, float]]:
        """Start and end in seconds of every window; the last one ends with the recording and is as long as the others."""
        if seconds <= max(self.longest, self.window):
            return [(0.0, seconds)]
        spans = []
        start = 0.0
        while start + self.window < seconds:
            spans.append((start, round(start + self.window, 6)))  # equal borders stay equal: timelines compare them
            start = round(start + self.hop, 6)
        spans.append((round(seconds - self.window, 6), seconds))
        return spans


def like_training(durations: Sequence[float], window: float | None = None, hop: float | None = None) -> Windowing:
    """Windows as long as nine tenths of the training's utterances; recordings 1.5 times as long as the longest are cut.

    Args:
        durations: Seconds of the run's utterances; may be empty.
        window: Seconds, instead of the training's; then everything longer is cut.
        hop: Seconds, instead of half a window.
    """
    lengths = sorted(value for value in durations if value > 0)
    if window is not None:
        return Windowing(window, window, hop or window / 2)
    if not lengths:
        return Windowing(30.0, 6.0, hop or 3.0)
    typical = max(SHORTEST_WINDOW, round(lengths[int(0.9 * (len(lengths) - 1))], 1))
    return Windowing(max(1.5 * lengths[-1], 2 * typical), typical, hop or typical / 2)


UNSURE = "unsure"


@dataclass(slots=True)
class Piece:
    """A recording or a window of one.

    Attributes:
        file: As given.
        start: First second.
        end: Last second; None if the audio was not needed.
        samples: float32 (samples,) at the rate of the audio encoder; None if the audio was not needed.
        text: Its transcript, or None.
        text_source: ``given``, ``recognised`` or ``none``.
        window: Whether it is one of several windows of its recording.
        error: Why it cannot be predicted, or None.
        pictures: uint8 (frames, height, width, 3) at the run's frames per second, none of them without a video; None if
            pictures were not needed.
    """

    file: str
    start: float = 0.0
    end: float | None = None
    samples: NDArray[np.float32] | None = None
    text: str | None = None
    text_source: str = "none"
    window: bool = False
    error: str | None = None
    pictures: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One line of output.

    Attributes:
        file: As given.
        start: First second.
        end: Last second; None if the audio was not read.
        window: Whether it is one of several windows of its recording.
        text: The transcript used, or None.
        text_source: ``given``, ``recognised`` or ``none``.
        error: Why it cannot be predicted, in one line, or None; with an error the values below are not set.
        label: The most probable class, or ``unsure`` below the threshold.
        best: The most probable class whatever the threshold.
        confidence: Its posterior, 0 to 1.
        row: Slug of the row whose heads predicted.
        posteriors: Class -> posterior.
    """

    file: str
    start: float
    end: float | None
    window: bool
    text: str | None
    text_source: str
    error: str | None
    label: str | None = None
    best: str | None = None
    confidence: float | None = None
    row: str | None = None
    posteriors: dict[str, float] = field(default_factory=dict)

    def as_object(self) -> dict[str, Any]:
        """Plain values in the order of the output's columns, posteriors in an object of their own."""
        plain = {name: getattr(self, name) for name in COLUMNS}
        plain["start"], plain["end"] = round(self.start, 3), None if self.end is None else round(self.end, 3)
        return plain | {"posteriors": self.posteriors}

    def as_dict(self) -> dict[str, Any]:
        """Plain values in one row, posteriors as ``p_<class>``."""
        plain = self.as_object()
        return plain | {f"p_{name}": value for name, value in plain.pop("posteriors").items()}


COLUMNS = ("file", "start", "end", "label", "confidence", "best", "row", "text", "text_source", "error")


def line_of(piece: Piece, **answer: Any) -> Prediction:
    """The line of a piece: what is known of it, and the ``answer``, if there is one."""
    names = ("file", "start", "end", "window", "text", "text_source", "error")
    return Prediction(**{name: getattr(piece, name) for name in names}, **answer)


def answered(
    piece: Piece, row: str, classes: Sequence[str], posteriors: Sequence[float], threshold: float
) -> Prediction:
    """The line of a piece with the posteriors of a row of the run."""
    by_class = dict(zip(classes, posteriors, strict=True))
    best = max(by_class, key=by_class.__getitem__)
    label = best if by_class[best] >= threshold else UNSURE
    return line_of(piece, label=label, best=best, confidence=by_class[best], row=row, posteriors=by_class)


def broken(file: str, error: AudioError, start: float = 0.0, end: float | None = None) -> Piece:
    """A recording, or a span of one, that cannot be decoded."""
    return Piece(file, start, end, window=end is not None, error=str(error).removeprefix(f"{error.path}: "))


def cut(file: str, samples: NDArray[np.float32], rate: int, windowing: Windowing) -> list[Piece]:
    """A recording as one piece, or as windows if it is long; silence becomes a piece with an error."""
    spans = windowing.cut(len(samples) / rate)
    if len(spans) == 1:
        return [Piece(file, 0.0, len(samples) / rate, samples, error=quiet(samples) or None)]
    pieces = []
    for start, end in spans:
        part = samples[round(start * rate) : round(end * rate)]
        error = (quiet(part) or None) if part.any() else "all samples of this window are zero"
        pieces.append(Piece(file, start, end, part, window=True, error=error))
    return pieces
