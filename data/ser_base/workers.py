"""Worker processes: loaded once, given one job after another, replaced when they die.

A worker runs a function `work(jobs, *arguments)`, which takes what it needs once and then jobs until there are none:

    def work(jobs: Jobs, folder: Path) -> None:
        model = load(folder)
        for job in jobs:
            jobs.done(model(job))

A job whose worker died is given out again. Workers ignore Ctrl-C, which the parent answers, and end with the parent,
however that ends. Jobs and results are small: names and numbers, never arrays.
"""

import copy
import ctypes
import gc
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, ClassVar

from ser_base.errors import SerError
from ser_base.machine import keep_freed_memory

THREADS = "OMP_NUM_THREADS"
TICK = 0.2
"""Seconds between looks at the stop signal."""
DEATHS = 5
"""Deaths in a row without any news that end the run: not a single job's fault."""
_SERVER: Any = getattr(forkserver, "_forkserver", None)
"""multiprocessing's one server; it has no public way to end it before this process ends."""


class Untold(SerError):
    """An error of a worker process that cannot be pickled, in words."""

    problem: str
    got = "{problem}"


class WorkersDie(SerError, RuntimeError):
    """Worker processes die again and again without getting anywhere; what is finished is kept."""

    deaths: int
    code: int | None
    got = "Worker processes died {deaths} times in a row without finishing anything (last: {how})."
    known = "Signal 9 usually means that the system ran out of memory."
    next = "Run the same command again with fewer --workers. With --workers 0 it shows the error itself."

    @property
    def how(self) -> str:
        if self.code is None:
            return "not known"
        return f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}"


@contextmanager
def unhearing() -> Iterator[None]:
    """Within it processes begin that do not hear Ctrl-C, not even while they load libraries; this one hears it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # as it begins, it lets this process hear again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Server:
    """How processes start: on Linux without a GPU forked from a server that has loaded the libraries once.

    torch and a model's classes take longer to load than a short clip to encode. The server loads them while the parent
    still plans, and a replaced worker costs next to nothing. Elsewhere each worker is a new process: a GPU's driver does
    not survive a fork, and other systems' libraries may not.

    Args:
        preload: Modules that the server loads.
        forks: False where a GPU is used.
        threads: ``OMP_NUM_THREADS`` of the processes, which libraries read when they are loaded; None: as in this one.
    """

    _running: ClassVar[tuple["Server", tuple[str, ...]] | None] = None  # the one of ours, and what it loads

    def __init__(self, preload: Iterable[str], forks: bool, threads: int | None = None) -> None:
        forks, self._threads = forks and sys.platform == "linux", threads
        self.context: BaseContext = get_context("forkserver" if forks else "spawn")
        self._ours = False
        if forks:
            wanted = tuple(dict.fromkeys(preload))
            if Server._running is not None and Server._running[1] != wanted:
                Server._running[0].end()  # it has loaded what an earlier step needed
            self._ours = getattr(_SERVER, "_forkserver_pid", 0) is None
            if self._ours:
                Server._running = (self, wanted)
            self.context.set_forkserver_preload(list(wanted))

    def ahead(self) -> None:
        """Lets the server load its libraries now; returns at once."""
        if self.context.get_start_method() == "forkserver":
            with self.starting():
                forkserver.ensure_running()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Within it the server loads its libraries and stands ready."""
        self.ahead()
        try:
            yield
        finally:
            self.end()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Within it processes begin, with their number of threads; see ``unhearing``."""
        before = os.environ.get(THREADS)
        if self._threads is not None:
            os.environ[THREADS] = str(self._threads)
        try:
            with unhearing():
                yield
        finally:
            if before is not None:
                os.environ[THREADS] = before
            elif self._threads is not None:
                os.environ.pop(THREADS, None)

    def end(self) -> None:
        """Ends the server, if it is this one's: no process outlives the run, and the next one begins with its own."""
        if self._ours and getattr(_SERVER, "_forkserver_pid", None) is not None:
            with suppress(OSError, AttributeError):
                os.kill(_SERVER._forkserver_pid, signal.SIGKILL)
                _SERVER._stop()


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    own: tuple[Any, ...]
    jobs: deque[Any] = field(default_factory=deque)


class Pool:
    """Runs jobs in worker processes.

    Args:
        work: See above; importable by name.
        arguments: Of every worker, after its jobs.
        each: One tuple of further arguments for each worker, as its device; as many workers are started.
        server: Starts the processes; ended with the pool.
        ahead: Jobs that wait in each worker's pipe while it works.
        stopping: Asked often; 1: give out nothing more; 2: drop everything.
        heard: Called with a job and what its worker tells of it meanwhile.
        died: Called with the job that a dead worker had in hand, before it is given out again.
    """

    def __init__(
        self,
        work: Callable[..., None],
        arguments: tuple[Any, ...],
        each: Sequence[tuple[Any, ...]],
        server: Server,
        *,
        ahead: int = 0,
        stopping: Callable[[], int] = lambda: 0,
        heard: Callable[[Any, Any], None] = lambda job, news: None,
        died: Callable[[Any], None] = lambda job: None,
    ) -> None:
        self._work, self._arguments, self._each, self._server = work, arguments, each, server
        self._ahead, self._stopping, self._heard, self._died = ahead, stopping, heard, died
        self._workers: list[_Worker] = []
        self._waiting: deque[Any] = deque()
        self._deaths = 0

    def run(self, jobs: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Yields (job, result) as they come; ends early when stopped. Every process is gone when it returns.

        Raises:
            WorkersDie: They die and get nowhere.
            Exception: A worker's own, with a note of its traceback.
        """
        self._waiting = deque(jobs)
        try:
            self._workers = [self._start(own) for own in self._each[: len(jobs)]]
            while self._hand_out():
                yield from self._collect()
                if self._stopping() >= 2:
                    return
        finally:
            self._end()

    def _hand_out(self) -> bool:
        """Fills the workers; False when nothing is left in hand."""
        for worker in self._workers:
            while self._waiting and len(worker.jobs) <= self._ahead and not self._stopping():
                worker.jobs.append(self._waiting.popleft())
                self._send(worker, (worker.jobs[-1],))
        return any(worker.jobs for worker in self._workers)

    def _send(self, worker: _Worker, message: tuple[Any] | None) -> None:
        with suppress(OSError):  # it died; its sentinel tells
            worker.pipe.send(message)

    def _collect(self) -> Iterator[tuple[Any, Any]]:
        pipes = {worker.pipe: worker for worker in self._workers}
        sentinels = {worker.process.sentinel: worker for worker in self._workers}
        ready = connection.wait([*pipes, *sentinels], timeout=TICK)
        for worker in [pipes[some] for some in ready if isinstance(some, Connection)]:
            yield from self._messages(worker)
        for some in ready:
            if not isinstance(some, Connection):
                worker = sentinels[some]  # type: ignore[index]
                yield from self._messages(worker)  # what it said before it died
                self._bury(worker)

    def _messages(self, worker: _Worker) -> Iterator[tuple[Any, Any]]:
        try:
            while worker.pipe.poll():
                kind, value = worker.pipe.recv()
                if kind == "error":
                    raise value
                self._deaths = 0
                if kind == "done":
                    yield worker.jobs.popleft(), value
                else:
                    self._heard(worker.jobs[0], value)
        except (EOFError, ConnectionResetError):
            return

    def _bury(self, worker: _Worker) -> None:
        """Takes back what a dead worker had, and starts another in its place."""
        worker.process.join()
        self._deaths += 1
        if self._deaths >= DEATHS:
            raise WorkersDie(self._deaths, worker.process.exitcode)
        if worker.jobs:
            self._died(worker.jobs[0])
        self._waiting.extendleft(reversed(worker.jobs))
        worker.pipe.close()
        self._workers.remove(worker)
        if self._waiting and not self._stopping():
            self._workers.append(self._start(worker.own))

    def _start(self, own: tuple[Any, ...]) -> _Worker:
        ours, theirs = self._server.context.Pipe()
        process = self._server.context.Process(  # type: ignore[attr-defined]  # typeshed has it in the subclasses only
            target=_serve, args=(theirs, self._work, (*self._arguments, *own)), daemon=False, name="ser worker"
        )
        with self._server.starting():
            process.start()
        theirs.close()
        return _Worker(process, ours, own)

    def _end(self) -> None:
        for worker in self._workers:
            if worker.jobs:
                worker.process.kill()
            else:
                self._send(worker, None)
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers = []
        self._server.end()


class Jobs:
    """The worker's side of its pipe: the jobs one by one, and what there is to say of them."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def __iter__(self) -> Iterator[Any]:
        while (message := self._pipe.recv()) is not None:
            yield message[0]

    @property
    def waiting(self) -> bool:
        """Whether another job is there already."""
        return self._pipe.poll()

    def tell(self, news: Any) -> None:
        """News of the oldest job that is not done."""
        self._pipe.send(("news", news))

    def done(self, result: Any) -> None:
        """The result of the oldest job that is not done."""
        self._pipe.send(("done", result))


def _serve(pipe: Connection, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()
    keep_freed_memory()
    gc.freeze()  # what the server has loaded stays: no collection looks at it again
    try:
        work(Jobs(pipe), *arguments)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone
    except Exception as error:  # noqa: BLE001  # whatever it is, the parent raises it
        pipe.send(("error", portable(error)))


def portable(error: Exception) -> Exception:
    """The error itself if it survives pickling, else one of ours that says the same."""
    if not isinstance(error, SerError):
        error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        copy.copy(error)  # rebuilt from its arguments, as on the other side
        ForkingPickler.dumps(error)
    except Exception:  # noqa: BLE001  # whatever pickle makes of somebody's exception
        error = Untold(f"{type(error).__name__}: {error}")
    return error


def die_with_parent() -> None:
    """Ends this process with the one that gives out the work, even if that ends by SIGKILL."""
    if sys.platform == "linux":  # at once, where that process is the parent
        set_parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
    threading.Thread(target=_end_after, daemon=True, name="parent").start()


def _end_after() -> None:
    """Waits for it: a worker that a server has forked is not its child."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)
