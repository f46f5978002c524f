"""The audio of one connection, cut into windows as it comes; holds one window of samples and never more."""

from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

LOWEST_RATE, HIGHEST_RATE = 8_000, 96_000
"""Hz of a microphone that are accepted."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window that is due.

    Attributes:
        start: First second, of the stream.
        end: Last second.
        samples: int16 (samples,) at the stream's rate.
        heard: ``time.monotonic()`` when its last sample came.
        skipped: Windows that were due since the last one taken and will not be computed.
    """

    start: float
    end: float
    samples: NDArray[np.int16]
    heard: float
    skipped: int


class Stream:
    """Samples in, windows out; always the newest: what could not be computed in time is skipped and counted.

    Args:
        rate: Samples per second, in Hz.
        window: Seconds of a window.
        hop: Seconds of new audio from one window to the next.
        first: Seconds after which the first, shorter window is due.
    """

    def __init__(self, rate: int, window: float, hop: float, first: float) -> None:
        self.rate = rate
        self._kept = np.zeros(round(window * rate), dtype=np.int16)
        self._hop = max(1, round(hop * rate))
        self._next = max(1, min(round(first * rate), len(self._kept)))
        self._heard, self._at, self._taken = 0, monotonic(), 0

    @property
    def seconds(self) -> float:
        """Of audio that came, in all."""
        return self._heard / self.rate

    @property
    def due(self) -> bool:
        """Whether a window can be taken."""
        return self._heard >= self._next

    def add(self, pcm: bytes) -> None:
        """Takes 16-bit little-endian mono samples; an odd last byte is no sample and is left out."""
        new = np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2")
        self._heard += len(new)
        self._at = monotonic()
        new = new[-len(self._kept) :]
        if len(new):
            self._kept[: -len(new)] = self._kept[len(new) :]
            self._kept[-len(new) :] = new

    def take(self) -> Window:
        """The window that ends with the newest sample."""
        missed = max(0, self._heard - self._next) // self._hop
        self._next += (missed + 1) * self._hop
        return self._window(missed)

    def rest(self, shortest: float) -> Window | None:
        """After the last sample: the last window, if it holds something new and at least ``shortest`` seconds."""
        if self._heard == self._taken or self._heard < shortest * self.rate:
            return None
        return self._window(0)

    def _window(self, skipped: int) -> Window:
        count = min(self._heard, len(self._kept))
        self._taken = self._heard
        samples = self._kept[len(self._kept) - count :].copy()
        return Window((self._heard - count) / self.rate, self._heard / self.rate, samples, self._at, skipped)
