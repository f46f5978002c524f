"""Sound files through libsndfile: wav, flac, ogg (Vorbis, Opus), mp3, aiff, au, caf, w64, rf64 and NIST SPHERE, in blocks."""

import contextlib
import io
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ser_base.files import write_whole
from ser_data.media.audio_terms import AudioError, AudioInfo, Gathered, Limits, refuse, wanted_samples
from ser_data.media.files import regular, sentence
from ser_data.media.length import Length, length_of, streamed_wav

FORMATS: Final = frozenset({"WAV", "WAVEX", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "RF64", "W64", "NIST"})
"""Containers that are read; libsndfile's others (HTK, MAT5, SDS ...) hold no corpus and are only attack surface."""

BLOCK = 1 << 16
"""Frames decoded at a time."""


def probe_sound(path: str | Path, limits: Limits) -> AudioInfo:
    """The header of a file; of a FLAC also its last sample, since its header says nothing of bytes."""
    with _open(path, limits) as sound:
        seconds = sound.frames / sound.samplerate
        length = length_of(path)
        missing = length.missing_by_header(seconds)
        if not missing and sound.format == "FLAC" and sound.frames > 0 and not has_end(path, limits):
            missing = f"its header says {seconds:.2f} s, and its last samples are not there"
        return AudioInfo(sound.frames, sound.samplerate, sound.channels, seconds, sound.format, missing, length.unknown)


def decode_sound(
    path: str | Path, first: float, last: float | None, limits: Limits
) -> tuple[NDArray[np.float32], int, Length]:
    """(samples, rate in Hz, the container's claim) through libsndfile."""
    name, length = str(path), length_of(path)
    with _open(path, limits) as sound:
        rate: int = sound.samplerate
        start = round(first * rate)
        try:
            if start:
                if sound.frames <= start:
                    raise AudioError(
                        name, "span", f"it starts at {first:g} s, the file has {sound.frames / rate:.2f} s"
                    )
                sound.seek(start)
            gather = Gathered(name, rate, limits)
            wanted = None if last is None else wanted_samples(first, last, rate)
            try:
                _read(sound, gather, wanted, BLOCK if sound.channels <= 8 else BLOCK // 8)
            except RuntimeError as error:  # soundfile's errors are RuntimeErrors
                if last is not None or sound.format != "FLAC" or has_end(path, limits):
                    raise
                _salvage(path, start, gather, limits)
                if not gather.total:
                    raise
                if not limits.keep_truncated:
                    what = (
                        f"{sentence(error)} at about {(start + gather.total) / rate:.2f} of {sound.frames / rate:.2f} s"
                    )
                    raise AudioError(name, "truncated", what) from error
        except AudioError:
            raise
        except (RuntimeError, OSError, ValueError, TypeError) as error:
            raise AudioError(name, "unreadable", sentence(error)) from error
    return gather.samples, rate, length


def has_end(path: str | Path, limits: Limits) -> bool:
    """Whether the last sample can be read. A FLAC's header says nothing of bytes."""
    with _open(path, limits) as sound, contextlib.suppress(RuntimeError, OSError, ValueError):
        sound.seek(sound.frames - 1)
        return len(sound.read(1)) == 1
    return False


def _salvage(path: str | Path, start: int, gather: Gathered, limits: Limits) -> None:
    """Adds what is there of the block in which a file was cut off: small pieces, up to the error."""
    skip = start + gather.total
    with _open(path, limits) as sound, contextlib.suppress(RuntimeError, OSError):
        while len(block := sound.read(512, dtype="float32", always_2d=True)):
            if skip < len(block):
                gather.add(block[skip:])
            skip = max(skip - len(block), 0)


class _Streamed(io.FileIO):
    """A WAV whose sizes of file and data read as "up to the end", which is what its writer to a pipe meant by 0."""

    def __init__(self, path: str | Path, place: int) -> None:
        super().__init__(path, "rb")
        self._places = (4, place)

    def readinto(self, buffer: Any) -> int:
        """As ever, but for these eight bytes."""
        start = self.tell()
        count = super().readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        for place in self._places:
            for at in range(max(place, start), min(place + 4, start + count)):
                view[at - start] = 0xFF
        return count


def _open(path: str | Path, limits: Limits) -> Any:
    import soundfile

    regular(path, limits.file_bytes, AudioError)
    name, place = str(path), streamed_wav(path)
    try:
        sound = soundfile.SoundFile(os.fsencode(path) if place is None else _Streamed(path, place))
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        share = length_of(path).share
        if share < 1.0:  # a header that fits the format, and a file that is shorter than it says
            detail = f"{share:.0%} of the bytes that its header declares are there, and its decoder reads none of them"
            raise AudioError(name, "truncated", detail) from error
        raise AudioError(name, "unreadable", sentence(error)) from error
    try:
        if sound.format not in FORMATS:
            raise AudioError(name, "unreadable", f"the format {sound.format} is not supported")
        refuse(name, sound.samplerate, sound.channels, limits)
    except AudioError:
        sound.close()
        raise
    return sound


def _read(sound: Any, gather: Gathered, wanted: int | None, frames: int) -> None:
    """Blocks of up to `frames` samples until the span, or the file, ends."""
    buffer = np.empty((frames, sound.channels), np.float32)
    while wanted is None or gather.total < wanted:
        ask = frames if wanted is None else min(frames, wanted - gather.total)
        block = sound.read(ask, dtype="float32", always_2d=True, out=buffer[:ask])
        if not len(block):
            break
        gather.add(block)


def write_wav(path: Path, samples: NDArray[np.float32] | NDArray[np.int16], rate: int) -> None:
    """Writes mono 16-bit PCM, whole or not at all; samples in -1..1, or int16."""
    import soundfile

    wav = io.BytesIO()
    soundfile.write(wav, samples, rate, format="WAV", subtype="PCM_16")
    write_whole(path, wav.getvalue())
