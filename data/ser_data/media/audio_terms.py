"""What is accepted of a recording, what its header says, and what can be wrong with it."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ser_data.errors import MediaError

REASONS: Final = {
    "missing": "the file does not exist",
    "empty": "it holds no audio",
    "unreadable": "it cannot be decoded",
    "truncated": "it ends before its header says",
    "nan": "it holds samples that are not finite",
    "too_short": "it is too short",
    "too_long": "it is too long",
    "silent": "every sample is zero",
    "span": "its span does not lie in the file",
    "limits": "it is outside the limits",
    "decoder_crash": "the decoder crashed on it",
    "decoder_hang": "the decoder did not finish",
}


CHANNELS: Final = {"left": 0, "right": 1}
"""Channels that can be taken alone, by name."""

QUIET: Final = 10 ** (-60 / 20)
"""Root mean square of full scale (-60 dBFS) below which a recording counts as without speech."""


class AudioError(MediaError):
    """A file, or a span of it, cannot be decoded as audio."""

    REASONS = REASONS


@dataclass(frozen=True)
class Limits:
    """What is accepted; everything beyond is an `AudioError`, before memory is spent on it.

    Attributes:
        shortest: Seconds; 25 ms is one frame of every usual speech encoder.
        longest: Seconds of one span (or of a file without a span).
        lowest_rate: Hz.
        highest_rate: Hz.
        channels: Most channels.
        file_bytes: Largest file.
        decoded_bytes: Most bytes of decoded mono float32 at the file's own rate.
        keep_truncated: Take what is there of a file that was cut off.
        channel: What is taken of several channels: their `mean`, or one of `CHANNELS`.
    """

    shortest: float = 0.025
    longest: float = 3600.0
    lowest_rate: int = 1_000
    highest_rate: int = 384_000
    channels: int = 64
    file_bytes: int = 8 << 30
    decoded_bytes: int = 1 << 30
    keep_truncated: bool = False
    channel: str = "mean"


LIMITS: Final = Limits()


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: a claim, not a measurement. Allocate nothing by it.

    Attributes:
        frames: Samples per channel.
        rate: Hz.
        channels: Number of channels.
        duration: Seconds, frames / rate.
        format: libsndfile's or ffmpeg's name of the container, e.g. "FLAC".
        missing: What is missing by the header; empty if nothing is. Not everything shows without decoding.
        unknown: Why the header says no length; empty if it does.
    """

    frames: int
    rate: int
    channels: int
    duration: float
    format: str
    missing: str = ""
    unknown: str = ""


def refuse(name: str, rate: int, channels: int, limits: Limits) -> None:
    """Raises `AudioError` for a rate or a number of channels beyond the limits."""
    if not limits.lowest_rate <= rate <= limits.highest_rate:
        detail = f"{rate:,} Hz; {limits.lowest_rate:,} to {limits.highest_rate:,} Hz are supported"
        raise AudioError(name, "limits", detail)
    if not 1 <= channels <= limits.channels:
        raise AudioError(name, "limits", f"{channels:,} channels, at most {limits.channels}")


class Gathered:
    """Blocks of samples as they are decoded: mean of the channels, finite, not more than the limits allow."""

    def __init__(self, name: str, rate: int, limits: Limits) -> None:
        self._name, self._rate, self._limits = name, rate, limits
        self._capacity = min(int(limits.longest * rate), limits.decoded_bytes // 4)
        self._blocks: list[NDArray[np.float32]] = []
        self.total = 0
        self.cancelled = False
        """Whether channels with sound became a mean of nothing somewhere."""

    def add(self, block: NDArray[np.float32]) -> None:
        """Takes (samples, channels)."""
        last = block.shape[1] - 1
        if last and self._limits.channel == "mean":
            mono = block.mean(axis=1, dtype=np.float32)
            self.cancelled = self.cancelled or (not mono.any() and bool(block.any()))
        else:
            mono = block[:, min(CHANNELS.get(self._limits.channel, 0), last)].copy()
        if not np.isfinite(mono).all():
            detail = f"within {self.total / self._rate:.2f} s and the next {len(mono):,} samples"
            raise AudioError(self._name, "nan", detail)
        self.total += len(mono)
        if self.total > self._capacity:
            detail = f"over {self._capacity / self._rate:,.0f} s, at most {self._limits.longest:,.0f} s"
            raise AudioError(self._name, "too_long", detail)
        self._blocks.append(mono)

    @property
    def samples(self) -> NDArray[np.float32]:
        """All of it, float32 (samples,).

        Raises:
            AudioError: The channels cancel each other throughout.
        """
        if self.cancelled and not any(block.any() for block in self._blocks):
            detail = "its channels are each other's opposite and cancel; take one of them: ser-extract --channel left"
            raise AudioError(self._name, "silent", detail)
        return np.concatenate(self._blocks) if self._blocks else np.empty(0, np.float32)


def decibels(samples: NDArray[np.float32]) -> float:
    """Root mean square in dB of full scale."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return 10 * math.log10(power) if power > 0 else -math.inf


def quiet(samples: NDArray[np.float32]) -> str:
    """Why this does not count as speech: too quiet, with the level; empty if it is loud enough."""
    level = decibels(samples)
    return (
        f"quiet: {level:.0f} dBFS, speech is above {20 * math.log10(QUIET):.0f}"
        if level < 20 * math.log10(QUIET)
        else ""
    )


def wanted_samples(first: float, last: float, rate: int) -> int:
    """Samples of a span."""
    return max(round(last * rate) - round(first * rate), 1)
