"""Frames of a video file, or of a span of it, at a set rate; a broken file cannot do harm.

avi, mp4, mov, mkv, webm, mpeg, flv and wmv through PyAV (ffmpeg's libraries). The span is cut into slots of `1 / fps`
seconds, and of each slot the picture is taken that a player shows in its middle. A slot whose middle lies behind the end does
not count, and every span has at least one. Pictures, frames, bytes and time are bounded before memory is spent on them.

A decoder can still crash or hang on a file made for it: `ser_data.media.isolated` runs `decode_video` in a child process,
and nothing else should call it on files that others made.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ser_base.errors import PackageMissing
from ser_data.errors import MediaError
from ser_data.media.files import OpenedByFfmpeg, known_hash, regular, seconds_of, sentence

FORMATS: Final = ("avi", "mov", "mp4", "matroska", "webm", "mpeg", "mpegts", "flv", "asf")
"""Containers that are read, by ffmpeg's names."""

CODECS: Final = (
    "h264", "hevc", "mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "msmpeg4", "mpeg1video", "mpeg2video", "mjpeg", "h263", "flv",
    "vp6f", "vp8", "libvpx", "vp9", "libvpx-vp9", "libdav1d", "av1", "wmv1", "wmv2", "wmv3", "vc1", "dvvideo", "huffyuv", "ffv1",
    "rawvideo",
)  # fmt: skip
"""Decoders that are used, by ffmpeg's names."""

CROPS: Final = ("left", "right")
"""Halves of the picture that a row may ask for; IEMOCAP shows its two actors side by side."""

TOLERANCE = 0.5
"""Seconds by which a span may end behind the last picture, which then stays: sound and pictures rarely end together."""

REASONS: Final = {
    "missing": "the file does not exist",
    "empty": "it holds no pictures",
    "unreadable": "it cannot be decoded",
    "no_video": "it has no video track",
    "codec": "its codec is not supported",
    "truncated": "it ends before its header says",
    "too_long": "it is too long",
    "span": "its span does not lie in the file",
    "crop": "its crop is not known",
    "limits": "it is outside the limits",
    "decoder_crash": "the decoder crashed on it",
    "decoder_hang": "the decoder did not finish",
}


class VideoError(MediaError):
    """A file, or a span of it, cannot be decoded as pictures."""

    REASONS = REASONS


@dataclass(frozen=True)
class VideoLimits:
    """What is accepted; everything beyond is a `VideoError`, before memory is spent on it.

    Attributes:
        longest: Seconds of one span (or of a file without a span).
        frames: Most frames taken of one span.
        pixels: Most pixels of one picture; 4096 x 4096.
        file_bytes: Largest file.
        decoded_bytes: Most bytes of all pictures taken, RGB.
    """

    longest: float = 3600.0
    frames: int = 20_000
    pixels: int = 1 << 24
    file_bytes: int = 64 << 30
    decoded_bytes: int = 1 << 30


LIMITS: Final = VideoLimits()


def require_video() -> None:
    """Raises `PackageMissing` where PyAV is not installed; loads nothing."""
    if find_spec("av") is None:
        raise PackageMissing("reading video", "av", "video")


def frame_count(seconds: float, fps: float) -> int:
    """Frames of a span of this length in seconds: slots of `1 / fps` whose middle lies in it, at least one."""
    return max(1, math.ceil(seconds * fps - 0.5 - 1e-9))


def video_hash(
    path: str | Path,
    start: float | None = None,
    end: float | None = None,
    crop: str | None = None,
    limits: VideoLimits = LIMITS,
) -> str:
    """The input hash: xxh3-128 (32 hex digits) of the file's bytes, the span in seconds and the crop. Runs no decoder."""
    import xxhash

    whole = known_hash(path, regular(path, limits.file_bytes, VideoError), VideoError)
    return xxhash.xxh3_128_hexdigest(
        f"video {whole} {seconds_of(start) or None!r} {seconds_of(end)!r} {crop!r}".encode()
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
        fps: Frames per second to take, at any rate of the file.
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


class _Opened(OpenedByFfmpeg):
    """A file with its first real video track."""

    formats, codecs, error = FORMATS, CODECS, VideoError

    def __init__(self, path: str | Path, limits: VideoLimits) -> None:
        super().__init__(path, limits.file_bytes, max_pixels=str(limits.pixels))
        self._limits = limits

    def _track(self) -> Any:
        from av.stream import Disposition

        tracks = [track for track in self.container.streams.video if not track.disposition & Disposition.attached_pic]
        if not tracks:
            reason = "no_video" if self.container.streams else "unreadable"
            raise VideoError(self._name, reason, f"it holds {self._kinds}")
        context = tracks[0].codec_context
        if context is None or context.name not in CODECS:
            raise VideoError(self._name, "codec", context.name if context is not None else "unknown to ffmpeg")
        if context.width * context.height > self._limits.pixels:
            size = f"{context.width:,} x {context.height:,} pixels"
            raise VideoError(self._name, "limits", f"{size}, at most {self._limits.pixels:,}")
        return tracks[0]

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
                detail = f"{self._opened.duration:.2f} s, the pictures end at {ends:.2f} s"
                raise VideoError(self._name, "truncated", detail)
            while self._wanted < ends - 1e-6 or not self._frames:
                self._take(frame)
            return
        while self._wanted < ends + TOLERANCE:
            self._take(frame)
        if len(self._frames) < len(self._times):
            detail = f"{self._first:.2f} to {self._last:.2f} s, the pictures end at {ends:.2f} s; is it cut off?"
            raise VideoError(self._name, "span", detail)

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
