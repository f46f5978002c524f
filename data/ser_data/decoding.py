"""Decoding in a child process that a poison file may kill or hang without harm to the run.

One child (`python -m ser_data.decoding`) serves all files; it is replaced when it dies or is too slow, and the file that
it had in hand becomes an `AudioError` with the reason `decoder_crash` or `decoder_hang`. The child has a bounded address
space and, per file, a bounded CPU time; it loads soundfile and numpy but no torch (start about 0.3 s), and hands back mono
samples at the file's own rate, which the parent resamples. Cost beside `load_audio`: about 0.7 ms per utterance of 4 s.
"""

import contextlib
import fcntl
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from ser_data.audio import LIMITS, AudioError, Limits, decode, to_rate

ADDRESS_SPACE = 4 << 30
"""Bytes of address space of the child: twice `Limits.decoded_bytes` for joining blocks, and the libraries."""

LONGEST_HEAD = 1 << 16
"""Bytes of an answer's head."""

PIPE_SIZE = 1 << 20
"""Bytes that the pipe holds, where the system allows: 16 s of audio without waiting for each other."""


class IsolatedDecoder:
    """`load_audio` with the decoder in a child process. A context manager; for one thread at a time.

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
        self.restarts = -1  # children started beyond the first
        self._child: subprocess.Popen[bytes] | None = None

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
        name = str(path)
        request = {"path": os.fsencode(path).hex(), "start": start, "end": end, "cpu": self.timeout} | asdict(
            self.limits
        )
        child = self._running()
        deadline = time.monotonic() + self.timeout
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]
            child.stdin.flush()  # type: ignore[union-attr]
            answer = self._head(child, deadline)
            if "reason" in answer:
                raise AudioError(name, answer["reason"], answer["detail"])
            samples = np.empty(answer["samples"], np.float32)
            self._fill(child, samples.view(np.uint8).data, deadline)
        except TimeoutError as error:
            self.close()
            raise AudioError(name, "decoder_hang", f"stopped after {self.timeout:g} s") from error
        except (EOFError, BrokenPipeError) as error:
            code = child.wait()
            self.close()
            if code == -signal.SIGXCPU:
                raise AudioError(name, "decoder_hang", f"stopped after {self.timeout:g} s of CPU time") from error
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise AudioError(name, "decoder_crash", how) from error
        except BaseException as error:
            if not isinstance(error, AudioError):  # e.g. Ctrl-C between question and answer: the next would read it
                self.close()
            raise
        return samples, answer["rate"]

    def close(self) -> None:
        """Ends the child; a later `load` starts another one."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            self.restarts += 1
            self._child = subprocess.Popen(
                [sys.executable, "-m", "ser_data.decoding"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # mpg123 talks about every odd frame
                env=os.environ
                | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # each thread takes address space
                start_new_session=True,  # Ctrl-C is for the parent, which ends it
            )
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(self._child.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_SIZE)  # type: ignore[union-attr]
        return self._child

    def _head(self, child: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
        size = bytearray(4)
        self._fill(child, memoryview(size), deadline)
        length = int.from_bytes(size, "little")
        if length > LONGEST_HEAD:
            raise EOFError
        head = bytearray(length)
        self._fill(child, memoryview(head), deadline)
        answer: dict[str, Any] = json.loads(head)
        return answer

    def _fill(self, child: subprocess.Popen[bytes], place: memoryview, deadline: float) -> None:
        while len(place):
            self._wait(child, deadline)
            got = os.readv(child.stdout.fileno(), [place])  # type: ignore[union-attr]
            if not got:
                raise EOFError
            place = place[got:]

    def _wait(self, child: subprocess.Popen[bytes], deadline: float) -> None:
        ready, _, _ = select.select([child.stdout.fileno()], [], [], max(0.0, deadline - time.monotonic()))  # type: ignore[union-attr]
        if not ready:
            raise TimeoutError


def _serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """The child: a JSON line per question; per answer the length of a JSON head (u32), the head, the samples' bytes."""
    import soundfile  # noqa: F401  # before the address space is bounded, and not at the first file's expense

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in questions:
        question: dict[str, Any] = json.loads(line)
        path = os.fsdecode(bytes.fromhex(question.pop("path")))
        start, end, seconds = question.pop("start"), question.pop("end"), question.pop("cpu")
        spent = time.process_time()
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent + seconds) + 1, resource.RLIM_INFINITY))
        samples = np.empty(0, np.float32)
        try:
            samples, rate = decode(path, start, end, Limits(**question))
            answer: dict[str, Any] = {"samples": len(samples), "rate": rate}
        except AudioError as error:
            answer = {"reason": error.reason, "detail": error.detail}
        except MemoryError:
            answer = {"reason": "limits", "detail": f"its decoder wants more than {ADDRESS_SPACE >> 30} GiB"}
        head = json.dumps(answer).encode()
        answers.write(len(head).to_bytes(4, "little") + head)
        answers.write(samples.data)
        answers.flush()


def _main() -> None:
    # What a library prints must not land between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    _main()
