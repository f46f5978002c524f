"""How worker processes start: on Linux without a GPU from a server that has loaded the libraries once, and forks.

torch and a model's classes take longer to load than a short clip to encode. The server loads them while the parent still
plans, and a worker that must be replaced costs next to nothing. Elsewhere each worker is a new process: a GPU's driver does
not survive a fork, and other systems' libraries may not.
"""

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import forkserver, get_context
from multiprocessing.context import BaseContext
from typing import Any

from ser_base.machine import resolve_device
from ser_extract.encoders.source import Source
from ser_extract.encoders.stated import Packable
from ser_extract.job import ExtractJob

WORKER = "ser_extract.work.workers"
_SERVER: Any = getattr(forkserver, "_forkserver", None)
"""multiprocessing's one server; it has no public way to end it before this process ends."""


class Start:
    """Starts the workers of one run.

    Args:
        job: Its device says how.
        sources: Encoders whose libraries are needed.
    """

    def __init__(self, job: ExtractJob, sources: Iterable[Source]) -> None:
        forks = sys.platform == "linux" and resolve_device(job.device) == "cpu"
        self.context: BaseContext = get_context("forkserver" if forks else "spawn")
        self._ours = forks and getattr(_SERVER, "_forkserver_pid", 0) is None
        if forks:
            names = ["torch", WORKER, *(name for one in sources for name in libraries(one))]
            self.context.set_forkserver_preload(list(dict.fromkeys(names)))

    def ahead(self) -> None:
        """Lets the server load its libraries now; returns at once."""
        if self.context.get_start_method() == "forkserver":
            forkserver.ensure_running()

    def end(self) -> None:
        """Ends the server, if it is this run's: no process outlives the run, and the next one begins with its own."""
        if self._ours and getattr(_SERVER, "_forkserver_pid", None) is not None:
            with suppress(OSError, AttributeError):
                os.kill(_SERVER._forkserver_pid, signal.SIGKILL)
                _SERVER._stop()


def libraries(source: Source) -> tuple[str, ...]:
    """Modules that the engine of an encoder needs."""
    if Packable.fitting(source.config) is not None:
        return ("ser_extract.encoders.speech_engine",)
    kind = source.model_type.replace("-", "_")
    return "transformers.models.auto.modeling_auto", f"transformers.models.{kind}.modeling_{kind}"
