"""The sound of containers that libsndfile does not know: mp4, m4a, 3gp, mov, webm, mkv, AAC, AMR, wma, avi, flv and mpeg, through PyAV.

Formats and codecs are those of two lists and no others, so that no playlist opens another file and no address is ever opened.
`ser_data.media.audio.decode` comes here for such files, in the child process in which it runs; nothing else should call it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_data.media.audio_terms import AudioError, AudioInfo, Gathered, Limits, refuse, wanted_samples
from ser_data.media.files import OpenedByFfmpeg, sentence
from ser_data.media.length import Length

FORMATS = {
    "mov": True, "matroska": True, "asf": True, "avi": True, "flv": True, "amr": False, "aac": False, "mpegts": False, "mpeg": False,
}  # fmt: skip
"""Containers by ffmpeg's names, and whether they declare their length."""

CODECS = (
    "aac", "aac_latm", "alac", "ac3", "eac3", "amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb", "mp2", "mp2float", "mp3",
    "mp3float", "opus", "libopus", "vorbis", "libvorbis", "flac", "wmav1", "wmav2", "wmapro", "wmavoice", "pcm_s16le", "pcm_s16be",
    "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_u8", "pcm_alaw", "pcm_mulaw", "adpcm_ima_wav", "adpcm_ms", "adpcm_ima_qt",
)  # fmt: skip
"""Decoders that are used, by ffmpeg's names."""

_JUMP = 30.0
"""Seconds into a file from which on it is searched instead of decoded from its beginning."""


def needs_av(path: str | Path) -> bool:
    """Whether the file's first bytes are those of one of these containers; reads 512 bytes."""
    if not os.path.isfile(path):  # a pipe would wait for a writer
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except (OSError, ValueError):
        return False
    return (
        head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"skip", b"free")
        or head[:4] in (b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75", b"\0\0\1\xba")
        or head[:5] == b"#!AMR"
        or head[:4] == b"FLV\1"
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or (len(head) > 188 and head[0] == head[188] == 0x47)
        or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0)  # ADTS: a sync word, layer 0
        or (head[:3] == b"ID3" and str(path).lower().endswith(".aac"))
    )


def probe_av(path: str | Path, limits: Limits) -> AudioInfo:
    """What the container says, and how far its packets reach; decodes nothing."""
    with _Opened(path, limits) as opened:
        length, present = opened.length, opened.packets()
        seconds = present if length.seconds is None else length.seconds
        frames = round(seconds * opened.rate)
        form = opened.container.format.name
        return AudioInfo(frames, opened.rate, opened.channels, seconds, form, length.missing(present), length.unknown)


def decode_av(
    path: str | Path, first: float, last: float | None, limits: Limits
) -> tuple[NDArray[np.float32], int, Length]:
    """(samples from second `first` to `last` or the end, rate in Hz, the container's claim)."""
    with _Opened(path, limits) as opened:
        gather = Gathered(str(path), opened.rate, limits)
        wanted = None if last is None else wanted_samples(first, last, opened.rate)
        for block in opened.blocks(first):
            gather.add(block if wanted is None else block[: wanted - gather.total])
            if wanted is not None and gather.total >= wanted:
                break
        if first and not gather.total:
            raise AudioError(str(path), "span", f"it starts at {first:g} s, where the file has ended")
        return gather.samples, opened.rate, opened.length


class _Opened(OpenedByFfmpeg):
    """A file with its first sound track."""

    formats, codecs, error = FORMATS, CODECS, AudioError
    rate: int
    channels: int

    def __init__(self, path: str | Path, limits: Limits) -> None:
        super().__init__(path, limits.file_bytes)
        self._limits = limits

    def _track(self) -> Any:
        tracks = self.container.streams.audio
        if not tracks:
            raise AudioError(self._name, "unreadable", f"it has no sound track; it holds {self._kinds}")
        context = tracks[0].codec_context
        if context is None or context.name not in CODECS:
            name = context.name if context is not None else "of its sound"
            raise AudioError(self._name, "unreadable", f"the codec {name} is not supported")
        self.rate, self.channels = context.sample_rate or 0, context.channels or 0
        refuse(self._name, self.rate, self.channels, self._limits)
        return tracks[0]

    @property
    def length(self) -> Length:
        """The container's claim of its length."""
        declared = self._declared
        open_end = "its container leaves the length open" if declared is None else ""
        frame = max(self.stream.codec_context.frame_size or 0, 1024) / self.rate
        return Length(declared, frame=frame, unknown=open_end)

    @property
    def _declared(self) -> float | None:
        import av

        if not any(FORMATS[name] for name in self.container.format.name.split(",") if name in FORMATS):
            return None
        stream = self.stream
        if stream.duration and stream.time_base:
            return max(float(stream.duration * stream.time_base), 0.0)
        if not self.container.duration:
            return None
        start = max(float(self.container.start_time or 0), 0.0) / av.time_base
        return max(float(self.container.duration) / av.time_base - start, 0.0)

    def packets(self) -> float:
        """Seconds from the time of the first packet in the file to the end of the last; decodes nothing."""
        first = last = None
        for packet in self._demuxed():
            if packet.pts is not None and packet.time_base:
                time = float(packet.pts * packet.time_base)
                first = time if first is None else min(first, time)
                ends = time + float((packet.duration or 0) * packet.time_base)
                last = ends if last is None else max(last, ends)
        return 0.0 if first is None or last is None else last - first

    def _demuxed(self) -> Iterator[Any]:
        """Packets up to the end of the file, wherever that is."""
        import av

        try:
            yield from self.container.demux(self.stream)
        except (av.error.FFmpegError, EOFError):  # cut off in the middle of a packet
            return

    def blocks(self, first: float = 0.0) -> Iterator[NDArray[np.float32]]:
        """Samples from second `first` on, float32 (samples, channels).

        Raises:
            AudioError: A damaged packet with sound ones behind it, or a rate or layout that changes.
        """
        import av

        rate = self.rate
        planar = av.AudioResampler(format="fltp")
        try:
            origin, place = self._jump(first) if first > _JUMP else (0.0, 0)
        except (av.error.FFmpegError, EOFError) as error:
            raise AudioError(self._name, "unreadable", sentence(error)) from error
        wanted = round(first * rate)
        damaged: Exception | None = None
        for packet in self._demuxed():
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                damaged = damaged or error
                continue
            for frame in frames:
                if damaged is not None:
                    detail = f"{sentence(damaged)} at about {place / rate:.2f} s"
                    raise AudioError(self._name, "unreadable", detail) from damaged
                if frame.sample_rate != rate or frame.layout.nb_channels != self.channels:
                    detail = f"its rate or its channels change at about {place / rate:.2f} s"
                    raise AudioError(self._name, "unreadable", detail)
                if place < 0:  # the first frame behind a jump says where it is
                    place = round((float(frame.time or 0.0) - origin) * rate)
                for whole in planar.resample(frame):
                    block = np.ascontiguousarray(whole.to_ndarray().T, np.float32)
                    skip = min(max(wanted - place, 0), len(block))
                    place += len(block)
                    if skip < len(block):
                        yield block[skip:]

    def _jump(self, first: float) -> tuple[float, int]:
        """Searches a second before `first`: (time stamp of second 0, -1), where -1 means that the next frame's time stamp gives its place.

        Time stamps of Matroska are whole milliseconds, so a span there may begin half of one beside.
        """
        import av

        origin = next((float(frame.time or 0.0) for frame in self.container.decode(self.stream)), 0.0)
        self.container.seek(int((first - 1.0 + origin) * av.time_base))
        return origin, -1
