"""A span of an audio file as mono float32 samples at one rate, and nothing that a broken file can do about it.

wav, flac, ogg (Vorbis, Opus), mp3, aiff, au, caf, w64, rf64 and NIST SPHERE through libsndfile, in blocks: memory grows
with what was decoded, never with what a header claims. Several channels become one by their mean; any rate is resampled
(`ser_data.resampling`). Samples that are not finite, digital silence, and spans that the file does not have are errors
with a reason, because an encoder would turn them into features that look like any other.

A decoder can still crash or hang on a file made for it; `ser_data.decoding` runs `decode` in a child process.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ser_data.errors import MediaError
from ser_data.files import content_hash, known_hash, regular, sentence

FORMATS: Final = frozenset({"WAV", "WAVEX", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "RF64", "W64", "NIST"})
"""Containers that are read; libsndfile's others (HTK, MAT5, SDS ...) hold no corpus and are only attack surface."""

NOT_READ: Final = frozenset({".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr", ".mkv", ".avi", ".mov"})
"""Suffixes of containers that libsndfile does not know, for a hint in the error."""

BLOCK = 1 << 16
"""Frames decoded at a time."""

SPAN_TOLERANCE = 0.02
"""Seconds by which a span may end behind its file: corpora round their times; more means that the file is cut off."""

REASONS: Final = {
    "missing": "there is no such file",
    "empty": "it holds no audio",
    "unreadable": "it cannot be decoded",
    "nan": "it holds samples that are not finite",
    "too_short": "it is too short",
    "too_long": "it is too long",
    "silent": "every sample is zero",
    "span": "its span does not lie in the file",
    "limits": "it is beyond the limits",
    "decoder_crash": "the decoder died on it",
    "decoder_hang": "the decoder did not come to an end",
}


class AudioError(MediaError):
    """A file, or a span of it, cannot be had as audio."""

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
    """

    shortest: float = 0.025
    longest: float = 3600.0
    lowest_rate: int = 1_000
    highest_rate: int = 384_000
    channels: int = 64
    file_bytes: int = 8 << 30
    decoded_bytes: int = 1 << 30


LIMITS: Final = Limits()


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: a claim, not a measurement. Allocate nothing by it.

    Attributes:
        frames: Samples per channel.
        rate: Hz.
        channels: Number of channels.
        duration: Seconds, frames / rate.
        format: libsndfile's name of the container, e.g. "FLAC".
    """

    frames: int
    rate: int
    channels: int
    duration: float
    format: str


def probe_audio(path: str | Path, limits: Limits = LIMITS) -> AudioInfo:
    """Reads a file's header only (well under a millisecond).

    Raises:
        AudioError: missing, empty, unreadable, or rate or channels beyond the limits.
    """
    with _open(path, limits) as sound:
        return AudioInfo(sound.frames, sound.samplerate, sound.channels, sound.frames / sound.samplerate, sound.format)


def load_audio(
    path: str | Path,
    rate: int = 16_000,
    start: float | None = None,
    end: float | None = None,
    limits: Limits = LIMITS,
) -> NDArray[np.float32]:
    """A file, or a span of it, as mono audio at `rate` Hz.

    Args:
        path: The file.
        rate: Wanted rate in Hz.
        start: First second of the span; None or NaN is the beginning.
        end: Last second of the span; None or NaN is the end of the file.
        limits: See `Limits`.

    Returns:
        float32 (samples,), usually in -1..1, finite, not all zero.

    Raises:
        AudioError: With a reason of `REASONS`.
    """
    samples, source = decode(path, start, end, limits)
    return to_rate(path, samples, source, rate)


def to_rate(path: str | Path, samples: NDArray[np.float32], source: int, rate: int) -> NDArray[np.float32]:
    """`resample` with the error of an audio file: the second half of `load_audio`, for callers that decode elsewhere."""
    from ser_data.resampling import resample

    try:
        return resample(samples, source, rate)
    except ValueError as error:
        raise AudioError(str(path), "limits", f"{error}; resample the file first") from error


def decode(
    path: str | Path, start: float | None = None, end: float | None = None, limits: Limits = LIMITS
) -> tuple[NDArray[np.float32], int]:
    """Decodes a span to mono at the file's own rate: (float32 (samples,), rate in Hz). Loads no torch."""
    name = str(path)
    first_second, last_second = _seconds(start) or 0.0, _seconds(end)
    if first_second < 0 or (last_second is not None and last_second <= first_second):
        raise AudioError(
            name, "span", f"{first_second:g} to {last_second:g} s" if last_second else f"from {first_second:g} s"
        )
    if last_second is not None and last_second - first_second > limits.longest:
        raise AudioError(name, "too_long", f"{last_second - first_second:,.1f} s, at most {limits.longest:,.0f} s")
    with _open(path, limits) as sound:
        rate: int = sound.samplerate
        first = round(first_second * rate)
        wanted = None if last_second is None else max(round(last_second * rate) - first, 1)
        capacity = min(int(limits.longest * rate), limits.decoded_bytes // 4)
        try:
            if first:
                if sound.frames <= first:
                    raise AudioError(
                        name, "span", f"it starts at {first_second:g} s, the file has {sound.frames / rate:.2f} s"
                    )
                sound.seek(first)
            samples = _read(name, sound, wanted, capacity, limits)
        except AudioError:
            raise
        except (RuntimeError, OSError, ValueError, TypeError) as error:  # soundfile's errors are RuntimeErrors
            raise AudioError(name, "unreadable", sentence(error)) from error
    if not len(samples):
        raise AudioError(name, "empty")
    if wanted is not None and len(samples) < wanted - SPAN_TOLERANCE * rate:
        have = first_second + len(samples) / rate
        raise AudioError(
            name, "span", f"{first_second:.2f} to {last_second:.2f} s, the file ends at {have:.2f} s; is it cut off?"
        )
    if len(samples) < limits.shortest * rate:
        raise AudioError(
            name, "too_short", f"{len(samples) / rate * 1000:.1f} ms, at least {limits.shortest * 1000:g} ms"
        )
    if not samples.any():
        raise AudioError(name, "silent", f"{len(samples) / rate:.2f} s")
    return samples, rate


def audio_hash(path: str | Path, start: float | None = None, end: float | None = None, limits: Limits = LIMITS) -> str:
    """The audio's input hash: xxh3-128 (32 hex digits) of the file's bytes, and of the span in seconds if there is one.

    A hash of bytes and not of samples: no decoder has to run, and another decoder's rounding does not change it.
    """
    import xxhash

    facts = regular(path, limits.file_bytes, AudioError)
    first, last = _seconds(start) or None, _seconds(end)
    if first is None and last is None:
        return content_hash(path, AudioError)
    whole = known_hash(path, facts, AudioError)
    return xxhash.xxh3_128_hexdigest(f"{whole} {first!r} {last!r}".encode())


def _seconds(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _open(path: str | Path, limits: Limits) -> Any:
    import soundfile

    regular(path, limits.file_bytes, AudioError)
    name = str(path)
    try:
        sound = soundfile.SoundFile(os.fsencode(path))
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        hint = "; convert it: ffmpeg -i FILE FILE.flac" if Path(name).suffix.lower() in NOT_READ else ""
        raise AudioError(name, "unreadable", sentence(error) + hint) from error
    refusal = _refusal(sound, limits)
    if refusal:
        sound.close()
        raise AudioError(name, *refusal)
    return sound


def _refusal(sound: Any, limits: Limits) -> tuple[str, str] | None:
    if sound.format not in FORMATS:
        return "unreadable", f"the format {sound.format} is not read"
    if not limits.lowest_rate <= sound.samplerate <= limits.highest_rate:
        return "limits", f"{sound.samplerate:,} Hz, {limits.lowest_rate:,} to {limits.highest_rate:,} Hz are read"
    if not 1 <= sound.channels <= limits.channels:
        return "limits", f"{sound.channels:,} channels, at most {limits.channels}"
    return None


def _read(name: str, sound: Any, wanted: int | None, capacity: int, limits: Limits) -> NDArray[np.float32]:
    """Blocks of up to `BLOCK` frames until the span, or the file, ends; mean of the channels; finite."""
    frames = BLOCK if sound.channels <= 8 else BLOCK // 8
    buffer = np.empty((frames, sound.channels), np.float32)
    blocks: list[NDArray[np.float32]] = []
    total = 0
    while wanted is None or total < wanted:
        ask = frames if wanted is None else min(frames, wanted - total)
        block = sound.read(ask, dtype="float32", always_2d=True, out=buffer[:ask])
        if not len(block):
            break
        mono = block[:, 0].copy() if sound.channels == 1 else block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            raise AudioError(name, "nan", f"within {total / sound.samplerate:.2f} s and the next {len(mono):,} samples")
        total += len(mono)
        if total > capacity:
            raise AudioError(
                name, "too_long", f"over {capacity / sound.samplerate:,.0f} s, at most {limits.longest:,.0f} s"
            )
        blocks.append(mono)
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)
