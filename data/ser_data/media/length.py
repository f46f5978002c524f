"""What a recording's container says about its own length, read from a few bytes, and whether the file can hold it.

A decoder gives what is there; only the container knows what should be. WAV, RF64, AIFF, AU, W64, CAF and NIST declare bytes,
FLAC samples, MP3 frames and bytes in its Xing or VBRI header. Ogg marks its last page. Everything is a claim: nothing is allocated
by it. Sources: RFC 3533 (Ogg), RFC 9639 (FLAC), EBU Tech 3306 (RF64), and for MP3 the tag that LAME documents.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SLACK = 0.1
"""Seconds that may be missing: encoders round, and taggers cut."""

CODEC_FRAMES = 3
"""Codec frames that may be missing: encoder delay and padding, where the header does not state them."""

STREAMED = 0x7FFFF000
"""Data sizes from here on are what programs write to a pipe when they do not know the size yet."""


@dataclass(frozen=True, slots=True)
class Length:
    """A container's claim.

    Attributes:
        seconds: As declared; None where only bytes are, or nothing.
        share: Part of the declared bytes that are in the file, 0 to 1.
        frame: Seconds of one codec frame, 0 where every sample counts.
        unknown: Why no length is declared, in words; empty if one is, or if the format is not one of these.
    """

    seconds: float | None = None
    share: float = 1.0
    frame: float = 0.0
    unknown: str = ""

    def missing(self, decoded: float) -> str:
        """What is missing where `decoded` seconds came out of the whole file; empty if nothing is."""
        declared = self.seconds if self.seconds is not None else decoded / self.share if self.share > 0 else decoded
        if declared - decoded <= max(SLACK, CODEC_FRAMES * self.frame):
            return ""
        return f"its header says {declared:.2f} s, {decoded:.2f} s are there"

    def missing_by_header(self, shown: float) -> str:
        """The same without decoding, where the decoder's header says `shown` seconds."""
        return self.missing(shown if self.seconds is None else self.seconds * self.share)


def length_of(path: str | Path) -> Length:
    """The claim of a file; an empty one where the format is not known or the header is broken (the decoder says more)."""
    if not os.path.isfile(path):  # a pipe would wait for a writer
        return Length()
    try:
        with open(path, "rb") as file:
            return _read(file, os.fstat(file.fileno()).st_size)
    except (OSError, ValueError, struct.error, ZeroDivisionError, OverflowError):
        return Length()


def streamed_wav(path: str | Path) -> int | None:
    """Where the data size stands in a WAV that says 0 bytes of data and has more: a stream; else None."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(12)
            if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
                return None
            for name, place, count in _chunks(file, 12, size, "<4sI"):
                if name == b"data":
                    return place - 4 if count == 0 and place < size and not _stated(head, "<", size) else None
    except (OSError, struct.error):
        pass
    return None


def _stated(head: bytes, order: str, size: int) -> bool:
    """Whether the writer of a RIFF file came back and stated its size: then what it says of its data holds as well."""
    (whole,) = struct.unpack(f"{order}I", head[4:8])
    return bool(whole < STREAMED and whole + 8 >= size)


def _read(file: BinaryIO, size: int) -> Length:
    head = file.read(36)
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"RIFX") and head[8:12] == b"WAVE":
        return _wav(file, size, ">" if head[:4] == b"RIFX" else "<", head)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _bytes(_find(file, 12, size, ">4sI", b"SSND"), size)
    if head[:4] in (b".snd", b"dns."):
        place, count = struct.unpack(">II" if head[:4] == b".snd" else "<II", head[4:12])
        return _bytes((place, count), size)
    if head[:4] == b"riff" and head[24:28] == b"wave":
        chunk = _find(file, 40, size, "<4s12xQ", b"data", header=24, align=8)
        return _bytes(chunk, size)
    if head[:4] == b"caff":
        chunk = _find(file, 8, size, ">4sQ", b"data")
        return _bytes(chunk, size, unknown=(1 << 64) - 1)
    if head[:7] == b"NIST_1A":
        return _nist(file, size)
    if head[:4] == b"OggS":
        return _ogg(file, size)
    start = _after_id3(file)
    file.seek(start)
    magic = file.read(4)
    if magic == b"fLaC":
        return _flac(file, start)
    return _mp3(file, start, size)


def _chunks(
    file: BinaryIO, place: int, size: int, form: str, header: int = 0, align: int = 2
) -> Iterator[tuple[bytes, int, int]]:
    """(name, place of its content, bytes) of chunks one behind the other; `header` if a chunk's size counts its own head."""
    width = struct.calcsize(form)
    while place + width <= size:
        file.seek(place)
        name, count = struct.unpack(form, file.read(width))
        count = max(count - header, 0)
        yield name, place + width, count
        place += width + count + -count % align


def _find(
    file: BinaryIO, place: int, size: int, form: str, wanted: bytes, header: int = 0, align: int = 2
) -> tuple[int, int] | None:
    for name, start, count in _chunks(file, place, size, form, header, align):
        if name == wanted:
            return start, count
    return None


def _bytes(chunk: tuple[int, int] | None, size: int, unknown: int = 0xFFFFFFFF) -> Length:
    """The claim of a container that declares a number of bytes from a place on."""
    if chunk is None or chunk[1] == 0:
        return Length()
    place, count = chunk
    if count == unknown:
        return Length(unknown="its header leaves the length open")
    return Length(share=min(1.0, max(size - place, 0) / count))


def _wav(file: BinaryIO, size: int, order: str, head: bytes) -> Length:
    large: int | None = None
    for name, place, count in _chunks(file, 12, size, f"{order}4sI"):
        if name == b"ds64":
            file.seek(place + 8)
            (large,) = struct.unpack("<Q", file.read(8))
        elif name == b"data":
            if large is not None and count == 0xFFFFFFFF:
                return _bytes((place, large), size, unknown=(1 << 64) - 1)
            if count >= STREAMED and count > size:
                return Length(unknown="it was streamed: its header leaves the length open")
            if count == 0 and size > place and not _stated(head, order, size):
                return Length(unknown="it was streamed: its header says 0 bytes")
            return _bytes((place, count), size)
    return Length()


def _nist(file: BinaryIO, size: int) -> Length:
    file.seek(0)
    lines = file.read(4096).split(b"\n")
    place = int(lines[1])
    fields = {line.split()[0]: line.split()[2] for line in lines[2:] if len(line.split()) == 3}
    count, rate = int(fields[b"sample_count"]), int(fields[b"sample_rate"])
    width = int(fields.get(b"sample_n_bytes", b"2")) * int(fields.get(b"channel_count", b"1"))
    return Length(count / rate, min(1.0, max(size - place, 0) / (count * width)))


def _ogg(file: BinaryIO, size: int) -> Length:
    """The flag of the last page; a page is at most 65,307 bytes."""
    file.seek(max(0, size - (1 << 17)))
    tail = file.read()
    place = tail.rfind(b"OggS\0")
    ended = 0 <= place < len(tail) - 26 and tail[place + 5] & 4
    if ended:
        body = tail[place + 27 : place + 27 + tail[place + 26]]
        ended = place + 27 + tail[place + 26] + sum(body) <= len(tail)
    return Length() if ended else Length(unknown="it has no end-of-stream page")


def _after_id3(file: BinaryIO) -> int:
    """Where the audio begins behind tags of ID3 version 2."""
    place = 0
    while True:
        file.seek(place)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 127:
            return place
        a, b, c, d = head[6:10]
        place += 10 + (a << 21 | b << 14 | c << 7 | d)


def _flac(file: BinaryIO, start: int) -> Length:
    file.seek(start + 8)
    info = file.read(18)
    packed = int.from_bytes(info[10:18], "big")
    rate, total = packed >> 44, packed & ((1 << 36) - 1)
    if not total:
        return Length(unknown="its header leaves the length open")
    return Length(total / rate)


_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def _mp3(file: BinaryIO, start: int, size: int) -> Length:
    """The first frame of MPEG audio, and the header that encoders put into it."""
    file.seek(start)
    data = file.read(1 << 14)
    place = data.find(b"\xff")
    while 0 <= place < len(data) - 200:
        version, layer, rate = data[place + 1] >> 3 & 3, data[place + 1] >> 1 & 3, data[place + 2] >> 2 & 3
        if data[place + 1] & 0xE0 == 0xE0 and version != 1 and layer == 1 and rate != 3 and data[place + 2] >> 4 != 15:
            return _first_frame(data[place:], version, rate, size - start - place)
        place = data.find(b"\xff", place + 1)
    return Length()


def _first_frame(data: bytes, version: int, rate_index: int, present: int) -> Length:
    rate, samples = _RATES[version][rate_index], 1152 if version == 3 else 576
    mono = data[3] >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    frame = samples / rate
    if data[36:40] == b"VBRI":
        count, frames = struct.unpack(">II", data[46:54])
        return Length(frames * frame, min(1.0, present / count) if count else 1.0, frame)
    for place in (4 + side, 6 + side):  # with a checksum, two bytes later
        if data[place : place + 4] not in (b"Xing", b"Info"):
            continue
        flags = struct.unpack(">I", data[place + 4 : place + 8])[0]
        if not flags & 1:
            break
        frames, count = struct.unpack(">II", data[place + 8 : place + 16])
        total = frames * samples
        tag = place + 8 + 4 * (flags & 1) + 2 * (flags & 2) + 25 * (flags & 4) + (flags & 8) // 2
        if data[tag : tag + 4] in (b"LAME", b"Lavf", b"Lavc"):
            delays = int.from_bytes(data[tag + 21 : tag + 24], "big")
            total -= (delays >> 12) + (delays & 0xFFF)
        share = min(1.0, present / count) if flags & 2 and count else 1.0
        return Length(max(total, 0) / rate, share, frame)
    return Length(frame=frame, unknown="it has no header that says its length")
