"""Small video files for tests and synthetic corpora, and a picture that shows a class."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CODECS = {".avi": "mpeg4", ".mp4": "mpeg4", ".mkv": "mpeg4"}


def write_video(
    path: str | Path, pictures: Iterable[NDArray[np.uint8]], rate: int = 10, *, codec: str | None = None, gop: int = 12
) -> int:
    """Writes pictures as a video file without sound.

    Args:
        path: avi, mp4 or mkv.
        pictures: uint8 (height, width, 3), RGB, all of one size with even sides.
        rate: Pictures per second.
        codec: ffmpeg's name of the encoder; None: MPEG-4 part 2, which IEMOCAP's DivX files are of.
        gop: Pictures from one key picture to the next.

    Returns:
        Number of pictures.
    """
    import av

    path, count = Path(path), 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec or CODECS[path.suffix], rate=rate)
        stream.pix_fmt, stream.gop_size, stream.codec_context.thread_count = "yuv420p", gop, 1
        if codec is None and path.suffix == ".avi":
            stream.codec_context.codec_tag = "DIVX"
        stream.bit_rate = 400_000
        for picture in pictures:
            if not count:
                stream.height, stream.width = picture.shape[:2]
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
            count += 1
        for packet in stream.encode(None):
            container.mux(packet)
    return count


def draw(shape: tuple[int, int], number: int, classes: int, phase: float) -> NDArray[np.uint8]:
    """A picture that shows class `number` of `classes`: a bar at the class's height and hue, which sways with the phase.

    Args:
        shape: (height, width) in pixels.
        number: The class; below 0: an empty stage.
        classes: How many there are.
        phase: Of the movement, in turns; it does not depend on the class.

    Returns:
        uint8 (height, width, 3), RGB.
    """
    height, width = shape
    picture = np.full((height, width, 3), 96, dtype=np.uint8)
    if number < 0:
        return picture
    thick = max(height // (classes + 1), 2)
    top = round((height - thick) * number / max(classes - 1, 1))
    left = round(width / 4 * (1 + np.sin(2 * np.pi * phase)) / 2)
    turn = 2 * np.pi * (number / classes + np.array([0, 1 / 3, 2 / 3]))
    picture[top : top + thick, left : left + width // 2] = np.round(127.5 + 127 * np.cos(turn))
    return picture
