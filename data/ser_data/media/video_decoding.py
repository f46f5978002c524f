"""Decoding video in a child process that a poison file may kill or hang without harm to the run (`ser_data.media.isolated`).

The child loads PyAV and numpy but no torch, and hands back RGB frames.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_data.media.isolated import Isolated, Outcome, serve_files
from ser_data.media.pictures import VideoInfo, decode_video, probe_video
from ser_data.media.video import LIMITS, VideoError, VideoLimits


class IsolatedVideoDecoder(Isolated):
    """`decode_video` in a child process. A context manager; threads wait for each other.

    >>> with IsolatedVideoDecoder() as decoder:
    ...     frames = decoder.load("clip.mp4", fps=2.0, start=1.0, end=4.5, crop="left")
    """

    module = "ser_data.media.video_decoding"
    error = VideoError

    def __init__(self, timeout: float = 60.0, limits: VideoLimits = LIMITS) -> None:
        """Starts nothing yet.

        Args:
            timeout: Seconds of wall time, and of CPU time, that one file may take.
            limits: What is accepted of a file.
        """
        super().__init__(timeout)
        self.limits = limits

    def load(
        self,
        path: str | Path,
        fps: float,
        start: float | None = None,
        end: float | None = None,
        crop: str | None = None,
    ) -> NDArray[np.uint8]:
        """As `ser_data.media.pictures.decode_video`, with the further reasons `decoder_crash` and `decoder_hang`."""
        what = {"limits": asdict(self.limits), "fps": fps, "start": start, "end": end, "crop": crop}
        head, data = self._ask(path, what)
        return np.frombuffer(data, np.uint8).reshape(head["shape"])

    def probe(self, path: str | Path) -> VideoInfo:
        """As `ser_data.media.pictures.probe_video`."""
        return VideoInfo(**self._ask(path, {"limits": asdict(self.limits), "probe": True})[0]["info"])


def _answer(path: str, question: dict[str, Any]) -> Outcome:
    limits = VideoLimits(**question["limits"])
    if question.get("probe"):
        return {"info": asdict(probe_video(path, limits))}, b""
    spans = (question["start"], question["end"], question["crop"])
    frames = decode_video(path, question["fps"], *spans, limits)
    return {"shape": frames.shape}, frames.reshape(-1).data


if __name__ == "__main__":
    import av  # noqa: F401  # not at the first file's expense

    serve_files(_answer)
