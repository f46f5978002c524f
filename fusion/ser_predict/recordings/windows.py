"""Long recordings as overlapping windows about as long as the utterances that the heads were trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

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
