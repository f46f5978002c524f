"""Frames of a video file, or of a span of it, at a set rate, and nothing that a broken file can do about it.

avi, mp4, mov, mkv, webm, mpeg, flv and wmv through PyAV (ffmpeg's libraries). The span is cut into slots of `1 / fps`
seconds, and of each slot the picture is taken that a player shows in its middle; a slot whose middle lies behind the end is
none, and every span has at least one. Formats and codecs are those of two lists and no others, so that no playlist opens
another file and no address is ever opened; pictures, frames, bytes and time are bounded before memory is spent.

A decoder can still crash or hang on a file made for it: `ser_data.media.video_decoding` runs `decode_video` in a child process,
and nothing else should call it on files that others made.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ser_data.media.files import regular, sentence
from ser_data.media.video import (
    CODECS,
    CROPS,
    FORMATS,
    LIMITS,
    TOLERANCE,
    VideoError,
    VideoLimits,
    frame_count,
    seconds_of,
)


@dataclass(frozen=True)
class VideoInfo:
    """What a file's header says: a claim, not a measurement. Allocate nothing by it.

    Attributes:
        duration: Seconds; 0 where the header does not say.
        width: Pixels.
        height: Pixels.
        rate: Pictures per second; 0 where the header does not say.
        codec: ffmpeg's name of the decoder.
        format: ffmpeg's names of the container.
    """

    duration: float
    width: int
    height: int
    rate: float
    codec: str
    format: str


def probe_video(path: str | Path, limits: VideoLimits = LIMITS) -> VideoInfo:
    """What the header says; opening a file already runs ffmpeg's code, so only in a child.

    Raises:
        VideoError: missing, empty, unreadable, no_video, codec, limits.
    """
    with _Opened(path, limits) as opened:
        stream = opened.stream
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        context = stream.codec_context
        return VideoInfo(
            opened.duration, context.width, context.height, rate, context.name, opened.container.format.name
        )


def decode_video(
    path: str | Path,
    fps: float,
    start: float | None = None,
    end: float | None = None,
    crop: str | None = None,
    limits: VideoLimits = LIMITS,
) -> NDArray[np.uint8]:
    """The frames of a span.

    Args:
        path: The file.
        fps: Frames per second that are taken, whatever the file has.
        start: First second of the span; None or NaN is the beginning.
        end: Last second; None or NaN is the end of the file.
        crop: `left` or `right` half of the picture, or None for all of it.
        limits: See `VideoLimits`.

    Returns:
        uint8 (frames, height, width, 3), RGB, at least one frame. Turned as the file says; pixels are taken as square.

    Raises:
        VideoError: With a reason of `REASONS`.
    """
    name = str(path)
    if crop not in (None, *CROPS):
        raise VideoError(name, "crop", f"'{crop}'; known are {', '.join(CROPS)}")
    first, last = seconds_of(start) or 0.0, seconds_of(end)
    if first < 0 or (last is not None and last <= first):
        raise VideoError(name, "span", f"{first:g} to {last:g} s" if last is not None else f"from {first:g} s")
    if last is not None:
        if last - first > limits.longest:
            raise VideoError(name, "too_long", f"{last - first:,.1f} s, at most {limits.longest:,.0f} s")
        if (count := frame_count(last - first, fps)) > limits.frames:
            raise VideoError(name, "limits", f"{count:,} frames at {fps:g} fps, at most {limits.frames:,}")
    for jump in (True, False) if first > 1.0 else (False,):
        with _Opened(path, limits) as opened:
            try:
                return _Taken(name, opened, fps, first, last, crop, limits).all(jump)
            except _Overshot:  # an index that leads behind the span, or none: from the beginning, then
                continue
    raise VideoError(name, "span", f"from {first:g} s, where no picture can be found")


class _Overshot(Exception):
    """The jump into the file has not led to a picture before the span."""


class _Opened:
    """A file with its first real video track."""

    def __init__(self, path: str | Path, limits: VideoLimits) -> None:
        self._path, self._name, self._limits = path, str(path), limits

    def __enter__(self) -> Self:
        import av

        regular(self._path, self._limits.file_bytes, VideoError)
        options = {
            "format_whitelist": ",".join(FORMATS),
            "codec_whitelist": ",".join(CODECS),
            "protocol_whitelist": "file",
            "max_pixels": str(self._limits.pixels),
            "threads": "1",
        }
        self._file = open(self._path, "rb")  # closed in __exit__; a file object: its name opens no address
        try:
            self.container = av.open(self._file, options=options, metadata_errors="ignore")
            self.stream = self._track()
        except VideoError:
            self.__exit__()
            raise
        except Exception as error:  # whatever a foreign file makes ffmpeg and PyAV raise
            self.__exit__()
            if isinstance(error, MemoryError):
                raise
            raise VideoError(self._name, "unreadable", sentence(error)) from error
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "container"):
            self.container.close()
        self._file.close()

    def _track(self) -> Any:
        from av.stream import Disposition

        tracks = [one for one in self.container.streams.video if not one.disposition & Disposition.attached_pic]
        if not tracks:
            kinds = ", ".join(sorted({str(one.type) for one in self.container.streams}))
            if not kinds:
                raise VideoError(self._name, "unreadable", "it holds no track at all; is it cut off?")
            raise VideoError(self._name, "no_video", f"it holds {kinds}")
        stream = tracks[0]
        context = stream.codec_context
        if context is None or context.name not in CODECS:
            raise VideoError(self._name, "codec", context.name if context is not None else "unknown to ffmpeg")
        if context.width * context.height > self._limits.pixels:
            size = f"{context.width:,} x {context.height:,} pixels"
            raise VideoError(self._name, "limits", f"{size}, at most {self._limits.pixels:,}")
        context.thread_count = 1
        return stream

    @property
    def origin(self) -> float:
        """Time stamp of second 0, in seconds."""
        import av

        return float(self.container.start_time or 0) / av.time_base

    @property
    def duration(self) -> float:
        """Seconds that the header claims; 0 where it does not."""
        import av

        if self.stream.duration and self.stream.time_base:
            return max(float(self.stream.duration * self.stream.time_base), 0.0)
        return max(float(self.container.duration or 0) / av.time_base, 0.0)


class _Taken:
    """One way through a file: pictures in the order of their times, those taken that are shown at the slots' middles."""

    def __init__(
        self,
        name: str,
        opened: _Opened,
        fps: float,
        first: float,
        last: float | None,
        crop: str | None,
        limits: VideoLimits,
    ) -> None:
        self._name, self._opened, self._fps, self._crop, self._limits = name, opened, fps, crop, limits
        self._first, self._last = first, last
        self._frames: list[NDArray[np.uint8]] = []
        self._bytes = 0
        count = limits.frames if last is None else frame_count(last - first, fps)
        short = last is not None and (last - first) * fps <= 0.5
        self._times = [first + (k + 0.5) / fps for k in range(count)] if not short else [(first + (last or 0.0)) / 2]

    def all(self, jump: bool) -> NDArray[np.uint8]:
        """Every frame of the span."""
        before, ends = None, 0.0
        for time, step, frame in self._pictures(jump):
            if before is None and jump and time > self._times[0] + 1e-6:
                raise _Overshot
            while self._wanted < time - 1e-6:
                if before is None and time - self._wanted > TOLERANCE:
                    raise VideoError(self._name, "span", f"from {self._first:g} s, its pictures begin at {time:.2f} s")
                self._take(before if before is not None else frame)
            before, ends = frame, time + step
            if len(self._frames) == len(self._times):
                break
            if self._last is None and time > self._first + self._limits.longest:
                raise VideoError(self._name, "too_long", f"over {time:,.0f} s, at most {self._limits.longest:,.0f} s")
        if before is None:
            raise _Overshot if jump else VideoError(self._name, "empty")
        self._finish(before, ends)
        return np.stack(self._frames)

    @property
    def _wanted(self) -> float:
        return self._times[len(self._frames)] if len(self._frames) < len(self._times) else math.inf

    def _finish(self, frame: Any, ends: float) -> None:
        """What is still wanted when the pictures have ended: the last one stays for a while."""
        if self._last is None:
            if ends <= self._first:
                raise VideoError(
                    self._name, "span", f"it starts at {self._first:g} s, the pictures end at {ends:.2f} s"
                )
            if self._opened.duration > ends + 2 * TOLERANCE:
                told = f"{self._opened.duration:.2f} s, the pictures end at {ends:.2f} s"
                raise VideoError(self._name, "truncated", told)
            while self._wanted < ends - 1e-6 or not self._frames:
                self._take(frame)
            return
        while self._wanted < ends + TOLERANCE:
            self._take(frame)
        if len(self._frames) < len(self._times):
            told = f"{self._first:.2f} to {self._last:.2f} s, the pictures end at {ends:.2f} s; is it cut off?"
            raise VideoError(self._name, "span", told)

    def _pictures(self, jump: bool) -> Iterator[tuple[float, float, Any]]:
        """(seconds, how long it is shown, picture); a damaged packet before the first wanted time is passed over."""
        import av

        container, stream, origin = self._opened.container, self._opened.stream, self._opened.origin
        step = float(1 / stream.average_rate) if stream.average_rate else 0.04
        time = -step
        try:
            if jump:
                container.seek(int((self._times[0] + origin) * av.time_base), backward=True)
            for packet in container.demux(stream):
                try:
                    decoded = packet.decode()
                except av.error.InvalidDataError:
                    if self._frames or time > self._times[0]:
                        raise
                    continue
                for frame in decoded:
                    if frame.time is None and jump and time < 0:
                        raise _Overshot
                    time = time + step if frame.time is None else frame.time - origin
                    yield time, step, frame
        except (_Overshot, VideoError, MemoryError, GeneratorExit):
            raise
        except Exception as error:  # as above
            if jump and not self._frames:
                raise _Overshot from error
            where = f" at about {max(time, 0.0):.2f} s" if time >= 0 else ""
            raise VideoError(self._name, "unreadable", f"{sentence(error)}{where}") from error

    def _take(self, frame: Any) -> None:
        """Keeps a picture as RGB."""
        if frame.is_corrupt:
            raise VideoError(self._name, "unreadable", f"a damaged picture at about {frame.time or 0.0:.2f} s")
        if frame.width * frame.height > self._limits.pixels:
            raise VideoError(self._name, "limits", f"{frame.width:,} x {frame.height:,} pixels")
        picture: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
        turns = round(getattr(frame, "rotation", 0) / 90) % 4
        if turns:
            picture = np.rot90(picture, turns)
        if self._crop is not None:
            half = picture.shape[1] // 2
            picture = picture[:, :half] if self._crop == "left" else picture[:, picture.shape[1] - half :]
        if not picture.size:
            raise VideoError(self._name, "empty", "a picture without pixels")
        if self._frames and self._frames[0].shape != picture.shape:
            raise VideoError(self._name, "unreadable", "the size of its pictures changes")
        self._bytes += picture.nbytes
        if self._bytes > self._limits.decoded_bytes:
            most = f"{self._limits.decoded_bytes / 1e6:,.0f} MB"
            raise VideoError(self._name, "limits", f"its frames take more than {most}; give spans, or lower --fps")
        self._frames.append(np.ascontiguousarray(picture))
