"""What goes through the encoders at once: a recording, or one window of a long one; and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_data.media.audio import quiet

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
    """Windows like the training's utterances: as long as nine tenths of them, half overlapping; whatever is longer than
    the longest by half is cut.

    Args:
        durations: Seconds of the run's utterances; may be empty.
        window: Seconds, instead of the training's; then everything longer is cut.
        hop: Seconds, instead of half a window.
    """
    known = sorted(value for value in durations if value > 0)
    if window is not None:
        return Windowing(window, window, hop or window / 2)
    if not known:
        return Windowing(30.0, 6.0, hop or 3.0)
    typical = max(SHORTEST_WINDOW, round(known[int(0.9 * (len(known) - 1))], 1))
    return Windowing(max(1.5 * known[-1], 2 * typical), typical, hop or typical / 2)


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
        label: The most probable class, or ``unsure`` below the threshold; None with an error.
        best: The most probable class whatever the threshold.
        confidence: Its posterior, 0 to 1.
        posteriors: Class -> posterior.
        row: Slug of the row whose heads predicted.
        text: The transcript used, or None.
        text_source: ``given``, ``recognised`` or ``none``.
        error: Why there is no prediction, in one line, or None.
    """

    file: str
    start: float
    end: float | None
    window: bool
    label: str | None
    best: str | None
    confidence: float | None
    posteriors: dict[str, float]
    row: str | None
    text: str | None
    text_source: str
    error: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, posteriors as ``p_<class>``."""
        plain = {
            "file": self.file,
            "start": round(self.start, 3),
            "end": None if self.end is None else round(self.end, 3),
            "label": self.label,
            "confidence": self.confidence,
            "best": self.best,
            "row": self.row,
            "text": self.text,
            "text_source": self.text_source,
            "error": self.error,
        }
        return plain | {f"p_{name}": value for name, value in self.posteriors.items()}


def failed(piece: Piece) -> Prediction:
    """The line of a piece that cannot be predicted."""
    return Prediction(
        piece.file,
        piece.start,
        piece.end,
        piece.window,
        None,
        None,
        None,
        {},
        None,
        piece.text,
        piece.text_source,
        piece.error,
    )


def answered(
    piece: Piece, row: str, classes: Sequence[str], posteriors: Sequence[float], threshold: float
) -> Prediction:
    """The line of a piece with the posteriors of a row of the run."""
    top = max(range(len(posteriors)), key=posteriors.__getitem__)
    best, confidence = classes[top], posteriors[top]
    return Prediction(
        file=piece.file,
        start=piece.start,
        end=piece.end,
        window=piece.window,
        label=best if confidence >= threshold else UNSURE,
        best=best,
        confidence=confidence,
        posteriors=dict(zip(classes, posteriors, strict=True)),
        row=row,
        text=piece.text,
        text_source=piece.text_source,
        error=None,
    )


def cut(file: str, samples: NDArray[np.float32], rate: int, windowing: Windowing) -> list[Piece]:
    """A recording as one piece, or as windows if it is long; what is silent or quiet is told, and no head is asked."""
    spans = windowing.cut(len(samples) / rate)
    if len(spans) == 1:
        return [Piece(file, 0.0, len(samples) / rate, samples, error=quiet(samples) or None)]
    pieces = []
    for start, end in spans:
        part = samples[round(start * rate) : round(end * rate)]
        error = (quiet(part) or None) if part.any() else "every sample of this window is zero"
        pieces.append(Piece(file, start, end, part, window=True, error=error))
    return pieces
