"""Decoding in a child process that a poison file may kill or hang without harm to the run.

One child (`python -m ser_data.decoding`) serves all files; it is replaced when it dies or is too slow, and the file that
it had in hand becomes an `AudioError` with the reason `decoder_crash` or `decoder_hang`. The child has a bounded address
space and, per file, a bounded CPU time; it loads soundfile and numpy but no torch (start about 0.2 s), and hands back mono
samples at the file's own rate, which the parent resamples. Cost beside `load_audio`: about 0.7 ms per utterance of 4 s.
"""

import os
import resource
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ser_data.audio import LIMITS, AudioError, AudioInfo, Limits, decode, probe_audio, to_rate
from ser_data.child import Answer, Child, ChildDied, serve

ADDRESS_SPACE = 4 << 30
"""Bytes of address space of the child: twice `Limits.decoded_bytes` for joining blocks, and the libraries."""


class IsolatedDecoder:
    """`load_audio` with the decoder in a child process. A context manager; threads wait for each other.

    >>> with IsolatedDecoder() as decoder:
    ...     samples = decoder.load("speech.flac", rate=16_000)
    """

    def __init__(self, timeout: float = 60.0, limits: Limits = LIMITS) -> None:
        """Starts nothing yet.

        Args:
            timeout: Seconds of wall time, and of CPU time, that one file may take.
            limits: What is accepted of a file.
        """
        self.timeout = timeout
        self.limits = limits
        self.starts = 0
        self._child: Child | None = None
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load(
        self, path: str | Path, rate: int = 16_000, start: float | None = None, end: float | None = None
    ) -> NDArray[np.float32]:
        """As `ser_data.audio.load_audio`, with the further reasons `decoder_crash` and `decoder_hang`."""
        samples, source = self.decode(path, start, end)
        return to_rate(path, samples, source, rate)

    def decode(
        self, path: str | Path, start: float | None = None, end: float | None = None
    ) -> tuple[NDArray[np.float32], int]:
        """As `ser_data.audio.decode`: (float32 (samples,), rate in Hz)."""
        head, data = self._ask(path, {"start": start, "end": end})
        return np.frombuffer(data, np.float32), head["rate"]

    def probe(self, path: str | Path) -> AudioInfo:
        """As `ser_data.audio.probe_audio`: opening a file already runs its decoder's code (an mp3's is scanned whole)."""
        return AudioInfo(**self._ask(path, {"probe": True})[0]["info"])

    def _ask(self, path: str | Path, what: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
        name = str(path)
        question = {"path": os.fsencode(path).hex(), "cpu": self.timeout, "limits": asdict(self.limits), **what}
        with self._turn:
            head, data = self._answered(name, question)
        if "reason" in head:
            raise AudioError(name, head["reason"], head["detail"])
        return head, data

    def _answered(self, name: str, question: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
        try:
            return self._running().ask(question, self.timeout)
        except TimeoutError as error:
            self.close()
            raise AudioError(name, "decoder_hang", f"stopped after {self.timeout:g} s") from error
        except ChildDied as error:
            self.close()
            if error.code == -signal.SIGXCPU:
                raise AudioError(name, "decoder_hang", f"stopped after {self.timeout:g} s of CPU time") from error
            how = signal.Signals(-error.code).name if error.code < 0 else f"exit code {error.code}"
            raise AudioError(name, "decoder_crash", how) from error
        except BaseException:  # Ctrl-C between question and answer: the next question would get this one's answer
            self.close()
            raise

    def close(self) -> None:
        """Ends the child; a later `load` starts another one."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _running(self) -> Child:
        if self._child is None or not self._child.alive:
            self.close()
            self.starts += 1
            self._child = Child("ser_data.decoding")
        return self._child


def _answer(question: dict[str, Any]) -> Answer:
    path = os.fsdecode(bytes.fromhex(question["path"]))
    allowed = int(time.process_time() + question["cpu"]) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    limits = Limits(**question["limits"])
    try:
        if question.get("probe"):
            return {"info": asdict(probe_audio(path, limits))}, b""
        samples, rate = decode(path, question["start"], question["end"], limits)
    except AudioError as error:
        return {"reason": error.reason, "detail": error.detail}, b""
    except MemoryError:
        return {"reason": "limits", "detail": f"its decoder wants more than {ADDRESS_SPACE >> 30} GiB"}, b""
    return {"rate": rate}, samples.view(np.uint8).data


def _main() -> None:
    import soundfile  # noqa: F401  # not at the first file's expense

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(_answer)


if __name__ == "__main__":
    _main()
