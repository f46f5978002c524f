"""Decoders in a child process, so that a file which crashes or hangs its decoder does not harm the run.

One child (`python -m ser_data.media.isolated KIND`) decodes all files of a decoder. It is replaced when it dies or is too
slow; the file that it was decoding becomes an error with the reason `decoder_crash` or `decoder_hang`. The child has a
bounded address space and, per file, a bounded CPU time. It loads no torch (start about 0.2 s), so audio comes back at the
file's own rate and the parent resamples it. Cost beside `load_audio`: about 0.7 ms per utterance of 4 s.
"""

import importlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ser_base.child import Answer, Child, ChildDied, serve
from ser_data.errors import MediaError
from ser_data.media.audio import LIMITS, AudioError, AudioInfo, Limits, decode, probe_audio, to_rate
from ser_data.media.video import LIMITS as VIDEO_LIMITS
from ser_data.media.video import VideoError, VideoInfo, VideoLimits, decode_video, probe_video

ADDRESS_SPACE = 4 << 30
"""Bytes of address space of the child: twice what one file may decode to, for joining pieces, and the libraries."""


class Isolated:
    """Asks a child about files, one at a time; threads wait for each other. A context manager.

    Subclasses name the kind of decoder, and the error of a file: `error(path, reason, detail)`.
    """

    kind: ClassVar[str]
    error: ClassVar[Callable[[str, str, str], MediaError]]

    def __init__(self, timeout: float, limits: Limits | VideoLimits) -> None:
        self.timeout = timeout
        self.starts = 0
        self._limits = asdict(limits)
        self._child: Child | None = None
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the child; a later question starts another one."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _ask(self, path: str | Path, what: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
        name, make = str(path), type(self).error
        question = {"path": os.fsencode(path).hex(), "cpu": self.timeout, "limits": self._limits, **what}
        with self._turn:
            try:
                head, data = self._running().ask(question, self.timeout)
            except TimeoutError as error:
                self.close()
                raise make(name, "decoder_hang", f"stopped after {self.timeout:g} s") from error
            except ChildDied as error:
                self.close()
                if error.code == -signal.SIGXCPU:
                    raise make(name, "decoder_hang", f"stopped after {self.timeout:g} s of CPU time") from error
                how = signal.Signals(-error.code).name if error.code < 0 else f"exit code {error.code}"
                raise make(name, "decoder_crash", how) from error
            except BaseException:  # Ctrl-C between question and answer: the next question would get this one's answer
                self.close()
                raise
        if "reason" in head:
            raise make(name, head["reason"], head["detail"])
        return head, data

    def _running(self) -> Child:
        if self._child is None or not self._child.alive:
            self.close()
            self.starts += 1
            self._child = Child("ser_data.media.isolated", [self.kind])
        return self._child


class IsolatedDecoder(Isolated):
    """`load_audio` with the decoder in a child process. A context manager; threads wait for each other.

    Examples:
        >>> from ser_data.media.isolated import IsolatedDecoder
        >>> with IsolatedDecoder() as decoder:
        ...     print(decoder.load("u00.wav", rate=16_000).shape)
        (9600,)
    """

    kind, error = "audio", AudioError

    def __init__(self, timeout: float = 60.0, limits: Limits = LIMITS) -> None:
        """Starts nothing yet.

        Args:
            timeout: Seconds of wall time, and of CPU time, that one file may take.
            limits: What is accepted of a file.
        """
        super().__init__(timeout, limits)

    def load(
        self, path: str | Path, rate: int = 16_000, start: float | None = None, end: float | None = None
    ) -> NDArray[np.float32]:
        """As `ser_data.media.audio.load_audio`, with the further reasons `decoder_crash` and `decoder_hang`."""
        samples, source = self.decode(path, start, end)
        return to_rate(path, samples, source, rate)

    def decode(
        self, path: str | Path, start: float | None = None, end: float | None = None
    ) -> tuple[NDArray[np.float32], int]:
        """As `ser_data.media.audio.decode`: (float32 (samples,), rate in Hz)."""
        head, data = self._ask(path, {"start": start, "end": end})
        return np.frombuffer(data, np.float32), head["rate"]

    def probe(self, path: str | Path) -> AudioInfo:
        """As `ser_data.media.audio.probe_audio`: opening a file already runs its decoder's code (an mp3's is scanned whole)."""
        return AudioInfo(**self._ask(path, {"probe": True})[0]["info"])


class IsolatedVideoDecoder(Isolated):
    """`decode_video` in a child process. A context manager; threads wait for each other.

    ```python
    with IsolatedVideoDecoder() as decoder:
        frames = decoder.load("clip.mp4", fps=2.0, start=1.0, end=4.5, crop="left")
    ```
    """

    kind, error = "video", VideoError

    def __init__(self, timeout: float = 60.0, limits: VideoLimits = VIDEO_LIMITS) -> None:
        """As for `IsolatedDecoder`; starts nothing yet."""
        super().__init__(timeout, limits)

    def load(
        self,
        path: str | Path,
        fps: float,
        start: float | None = None,
        end: float | None = None,
        crop: str | None = None,
    ) -> NDArray[np.uint8]:
        """As `ser_data.media.video.decode_video`, with the further reasons `decoder_crash` and `decoder_hang`."""
        head, data = self._ask(path, {"fps": fps, "start": start, "end": end, "crop": crop})
        return np.frombuffer(data, np.uint8).reshape(head["shape"])

    def probe(self, path: str | Path) -> VideoInfo:
        """As `ser_data.media.video.probe_video`."""
        return VideoInfo(**self._ask(path, {"probe": True})[0]["info"])


def _answer_audio(path: str, question: dict[str, Any]) -> Answer:
    limits = Limits(**question["limits"])
    if question.get("probe"):
        return {"info": asdict(probe_audio(path, limits))}, b""
    samples, rate = decode(path, question["start"], question["end"], limits)
    return {"rate": rate}, samples.view(np.uint8).data


def _answer_video(path: str, question: dict[str, Any]) -> Answer:
    limits = VideoLimits(**question["limits"])
    if question.get("probe"):
        return {"info": asdict(probe_video(path, limits))}, b""
    span = (question["start"], question["end"], question["crop"])
    frames = decode_video(path, question["fps"], *span, limits)
    return {"shape": frames.shape}, frames.reshape(-1).data


def serve_files(answer: Callable[[str, dict[str, Any]], Answer]) -> None:
    """The child's side: bounds the process, then answers `(path, question)` until the parent goes away.

    What `answer` raises as a `MediaError` becomes that answer.
    """

    def bounded(question: dict[str, Any]) -> Answer:
        allowed = int(time.process_time() + question["cpu"]) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        try:
            return answer(os.fsdecode(bytes.fromhex(question["path"])), question)
        except MediaError as error:
            return {"reason": error.reason, "detail": error.detail}, b""
        except MemoryError:
            return {"reason": "limits", "detail": f"its decoder wants more than {ADDRESS_SPACE >> 30} GiB"}, b""

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(bounded)


if __name__ == "__main__":
    library, answer = {"audio": ("soundfile", _answer_audio), "video": ("av", _answer_video)}[sys.argv[1]]
    importlib.import_module(library)  # not at the first file's expense
    serve_files(answer)
