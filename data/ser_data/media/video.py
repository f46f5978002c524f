"""Video files as inputs: what is accepted, what can be wrong, how many frames a span gives, and the input hash.

No decoder here: `ser_data.media.pictures` has it, `ser_data.media.video_decoding` runs it in a child process.
"""

import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ser_base.errors import PackageMissing
from ser_data.errors import MediaError
from ser_data.media.files import known_hash, regular

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
    "missing": "there is no such file",
    "empty": "it holds no pictures",
    "unreadable": "it cannot be decoded",
    "no_video": "it has no video track",
    "codec": "its codec is not read",
    "truncated": "it ends before its header says",
    "too_long": "it is too long",
    "span": "its span does not lie in the file",
    "crop": "its crop is not known",
    "limits": "it is beyond the limits",
    "decoder_crash": "the decoder died on it",
    "decoder_hang": "the decoder did not come to an end",
}


class VideoError(MediaError):
    """A file, or a span of it, cannot be had as pictures."""

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
    """Frames of a span of so many seconds: slots of `1 / fps` whose middle lies in it, at least one."""
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


def seconds_of(value: float | None) -> float | None:
    """A manifest's number: NaN is None."""
    return None if value is None or math.isnan(value) else float(value)
