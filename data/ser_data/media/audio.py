"""A span of an audio file as mono float32 samples at one rate; a broken file becomes an error with a reason.

libsndfile reads wav, flac, ogg (Vorbis, Opus), mp3, aiff, au, caf, w64, rf64 and NIST SPHERE (`ser_data.media.sound_file`). PyAV
reads mp4, m4a, webm, amr and similar files (`ser_data.media.av_audio`). Both read in blocks: memory grows with what was decoded,
never with what a header claims. Where a header claims more than there is, the file was cut off, and that is an error
(`ser_data.media.length`). Several channels become one, by their mean unless one is named; any rate is resampled
(`ser_data.media.resampling`). Samples that are not finite, digital silence and spans outside of the file are errors with a
reason: an encoder would turn them into features that look like any other.

A decoder can still crash or hang on a file made for it; `ser_data.media.isolated` runs `decode` in a child process.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_data.media.audio_terms import (
    CHANNELS,
    LIMITS,
    QUIET,
    REASONS,
    AudioError,
    AudioInfo,
    Limits,
    quiet,
    wanted_samples,
)  # fmt: skip
from ser_data.media.av_audio import decode_av, needs_av, probe_av
from ser_data.media.files import content_hash, known_hash, regular, seconds_of
from ser_data.media.sound_file import decode_sound, probe_sound

__all__ = [
    "CHANNELS", "LIMITS", "QUIET", "REASONS", "AudioError", "AudioInfo", "Limits", "audio_hash", "decode", "load_audio", "probe_audio",
    "quiet", "span_of", "to_rate",
]  # fmt: skip

SPAN_TOLERANCE = 0.02
"""Seconds by which a span may end behind its file: corpora round their times; more means that the file is cut off."""


def probe_audio(path: str | Path, limits: Limits = LIMITS) -> AudioInfo:
    """Reads a file's header only (well under a millisecond; of what PyAV reads, also all packets, and only in a child).

    Raises:
        AudioError: missing, empty, unreadable, or rate or channels beyond the limits.
    """
    return probe_av(path, limits) if needs_av(path) else probe_sound(path, limits)


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
    from ser_data.media.resampling import resample

    try:
        return resample(samples, source, rate)
    except ValueError as error:
        raise AudioError(str(path), "limits", f"{error}; resample the file first") from error


def decode(
    path: str | Path, start: float | None = None, end: float | None = None, limits: Limits = LIMITS
) -> tuple[NDArray[np.float32], int]:
    """Decodes a span to mono at the file's own rate: (float32 (samples,), rate in Hz). Loads no torch."""
    name = str(path)
    first_second, last_second = span_of(start, end)
    if first_second < 0 or (last_second is not None and last_second <= first_second):
        raise AudioError(
            name, "span", f"{first_second:g} to {last_second:g} s" if last_second else f"from {first_second:g} s"
        )
    if last_second is not None and last_second - first_second > limits.longest:
        raise AudioError(name, "too_long", f"{last_second - first_second:,.1f} s, at most {limits.longest:,.0f} s")
    read = decode_av if needs_av(path) else decode_sound
    samples, rate, length = read(path, first_second, last_second, limits)
    missing = length.missing(first_second + len(samples) / rate) if last_second is None else ""
    if missing and not limits.keep_truncated:
        raise AudioError(name, "truncated", missing)
    if not len(samples):
        raise AudioError(name, "empty")
    wanted = None if last_second is None else wanted_samples(first_second, last_second, rate)
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
    first, last = seconds_of(start) or None, seconds_of(end)
    if first is None and last is None:
        return content_hash(path, AudioError)
    whole = known_hash(path, facts, AudioError)
    return xxhash.xxh3_128_hexdigest(f"{whole} {first!r} {last!r}".encode())


def span_of(start: float | None, end: float | None) -> tuple[float, float | None]:
    """A manifest's `start` and `end`: (first second, last second or None for the end of the file); NaN is None."""
    return seconds_of(start) or 0.0, seconds_of(end)
