"""A decoder in a child process that a poison file may kill or hang without harm to the run: what audio and video share.

One child (`python -m MODULE`) serves all files; it is replaced when it dies or is too slow, and the file that it had in
hand becomes an error with the reason `decoder_crash` or `decoder_hang`. The child has a bounded address space and, per
file, a bounded CPU time, and it loads no torch.
"""

import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from ser_base.child import Answer, Child, ChildDied, serve
from ser_data.errors import MediaError

ADDRESS_SPACE = 4 << 30
"""Bytes of address space of the child: twice what one file may decode to, for joining pieces, and the libraries."""

Outcome = tuple[dict[str, Any], bytes | memoryview]


class Isolated:
    """Asks a child about files, one at a time; threads wait for each other. A context manager.

    Subclasses name the child's module and the error of a file: `error(path, reason, detail)`.
    """

    module: ClassVar[str]
    error: ClassVar[Callable[[str, str, str], MediaError]]

    def __init__(self, timeout: float = 60.0) -> None:
        """Starts nothing yet.

        Args:
            timeout: Seconds of wall time, and of CPU time, that one file may take.
        """
        self.timeout = timeout
        self.starts = 0
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
        question = {"path": os.fsencode(path).hex(), "cpu": self.timeout, **what}
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
            self._child = Child(self.module)
        return self._child


def serve_files(answer: Callable[[str, dict[str, Any]], Outcome]) -> None:
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
