"""A child process that answers questions, with a deadline for each, and that may die without harm.

Used for code that is not trusted to come back (audio decoders) or that must not be loaded into our process (espeak-ng).
The question is a JSON line; the answer is the length of a JSON head (u32, little endian), the head, and as many bytes as
its `bytes` says. One question at a time.
"""

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ser_base.errors import SerError

LONGEST_HEAD = 1 << 20
"""Bytes of an answer's head."""

PIPE_SIZE = 1 << 20
"""Bytes that the pipe holds, where the system allows: long answers without waiting for each other."""

Answer = tuple[dict[str, Any], bytes | memoryview]


class ChildDied(SerError):
    """The child ended while it was asked; `code` is its exit code, negative for a signal."""

    code: int
    got = "the child process ended with code {code}."


class Child:
    """One running child, started with this Python as `python -m MODULE ARGUMENTS`."""

    def __init__(self, module: str, arguments: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],  # -P: nothing is imported from the folder we stand in
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # mpg123 and espeak-ng talk about every odd thing
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # each thread takes address space
            start_new_session=True,  # Ctrl-C is for the parent, which ends the child
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._answers.fileno(), fcntl.F_SETPIPE_SZ, PIPE_SIZE)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, question: dict[str, Any], seconds: float) -> tuple[dict[str, Any], bytearray]:
        """The answer: its head, and its bytes.

        Raises:
            TimeoutError: No whole answer within `seconds`; close the child, it is not in step any more.
            ChildDied: It ended.
        """
        deadline = time.monotonic() + seconds
        try:
            self._questions.write(json.dumps(question).encode() + b"\n")
            self._questions.flush()
            length = int.from_bytes(self._read(4, deadline), "little")
            if length > LONGEST_HEAD:
                raise EOFError
            head = json.loads(self._read(length, deadline))
            return head, self._read(head["bytes"], deadline)
        except (EOFError, BrokenPipeError, ValueError) as error:
            self._process.kill()
            raise ChildDied(self._process.wait()) from error

    def close(self) -> None:
        """Ends the child at once."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._questions, self._answers):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _read(self, count: int, deadline: float) -> bytearray:
        data = bytearray(count)
        place = memoryview(data)
        while len(place):
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            got = os.readv(self._answers.fileno(), [place])
            if not got:
                raise EOFError
            place = place[got:]
        return data


def serve(answer: Callable[[dict[str, Any]], Answer]) -> None:
    """The child's side: answers questions until the parent closes the pipe or goes away."""
    # What a library prints must not land between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        for line in sys.stdin.buffer:
            head, data = answer(json.loads(line))
            text = json.dumps(head | {"bytes": len(data)}).encode()
            answers.write(len(text).to_bytes(4, "little") + text)
            answers.write(data)
            answers.flush()
