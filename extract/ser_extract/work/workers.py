"""Worker processes: models loaded once, ids handed over and never arrays, replaced when they die.

A unit whose worker died is given out again; after a second death its utterances go one by one and are announced, so that
the one which kills the process is known, recorded as failed, and the rest of the shard is done. Workers ignore Ctrl-C (the
parent decides) and end with the parent, however it ends.
"""

import ctypes
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from ser_base.errors import SerError
from ser_extract.errors import ExtractError
from ser_extract.work.shard import Assignment, ShardProcessor, UnitResult
from ser_extract.work.starting import Start
from ser_extract.work.units import Unit

TICK = 0.2
"""Seconds between looks at the stop signal."""
ACCELERATOR_THREADS = 4
DEATHS = 5
"""Deaths in a row without any progress that end the run: not an utterance's fault."""


class Untold(ExtractError):
    """An error of a worker process that cannot be pickled, in words."""

    problem: str
    got = "{problem}"


class WorkersDie(ExtractError, RuntimeError):
    """Worker processes die again and again without getting anywhere."""

    deaths: int
    code: int | None
    got = "the worker process died {deaths} times in a row without finishing anything (last: {how})."
    known = "Signal 9 is mostly the system running out of memory."
    next = "Give --workers 1, or --workers 0 to see the error itself; what is committed is kept."

    @property
    def how(self) -> str:
        return f"signal {-self.code}" if self.code is not None and self.code < 0 else f"exit code {self.code}"


@dataclass
class Task:
    """A unit on its way, with what is known about it."""

    unit: Unit
    deaths: int = 0
    poison: list[str] = field(default_factory=list)
    in_hand: str | None = None


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    device: str
    tasks: deque[Task] = field(default_factory=deque)


class Pool:
    """Runs units in worker processes.

    Args:
        assignment: What every worker gets.
        count: Number of processes.
        devices: What they compute on, one after the other.
        ahead: Units that wait in each worker's pipe while it works (1 lets it write while it encodes; for accelerators).
        stopping: Asked often; 1: give out nothing more; 2: drop everything.
        progress: Called with (modality, utterances, audio seconds) as they are done.
    """

    def __init__(
        self,
        assignment: Assignment,
        count: int,
        *,
        devices: Sequence[str] = ("cpu",),
        ahead: int = 0,
        stopping: Callable[[], int] = lambda: 0,
        progress: Callable[[str, int, float], None] = lambda modality, utterances, seconds: None,
    ) -> None:
        self._assignment, self._count, self._ahead = assignment, count, ahead
        self._devices = devices
        self._stopping, self._progress = stopping, progress
        self._starter = Start(assignment.job, assignment.sources.values())
        self._workers: list[_Worker] = []
        self._waiting: deque[Task] = deque()
        self._deaths = 0

    def run(self, units: Sequence[Unit]) -> Iterator[UnitResult]:
        """Yields results as they come; ends early when stopped. Every process is gone when it returns."""
        self._waiting = deque(Task(unit) for unit in units)
        try:
            devices = islice(cycle(self._devices), min(self._count, len(units)))
            self._workers = [self._start(device) for device in devices]
            while self._hand_out():
                yield from self._collect()
                if self._stopping() >= 2:
                    return
        finally:
            self._end()

    def _hand_out(self) -> bool:
        """Fills the workers; False when nothing is left in hand."""
        for worker in self._workers:
            while self._waiting and len(worker.tasks) <= self._ahead and not self._stopping():
                task = self._waiting.popleft()
                worker.tasks.append(task)
                self._send(worker, (task.unit, tuple(task.poison), task.deaths >= 2))
        return any(worker.tasks for worker in self._workers)

    def _send(self, worker: _Worker, message: Any) -> None:
        with suppress(OSError):  # it died; its sentinel tells
            worker.pipe.send(message)

    def _collect(self) -> Iterator[UnitResult]:
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

    def _messages(self, worker: _Worker) -> Iterator[UnitResult]:
        try:
            while worker.pipe.poll():
                kind, value = worker.pipe.recv()
                if kind == "progress":
                    self._deaths = 0
                    self._progress(*value)
                elif kind == "announce":
                    worker.tasks[0].in_hand = value
                elif kind == "error":
                    raise value
                else:
                    self._deaths = 0
                    worker.tasks.popleft()
                    yield value
        except (EOFError, ConnectionResetError):
            return

    def _bury(self, worker: _Worker) -> None:
        """Takes back what a dead worker had, and starts another in its place."""
        worker.process.join()
        self._deaths += 1
        if self._deaths >= DEATHS:
            raise WorkersDie(self._deaths, worker.process.exitcode)
        tasks = list(worker.tasks)
        if tasks:
            first = tasks[0]
            first.deaths += 1
            if first.in_hand is not None:
                first.poison.append(first.in_hand)
                first.in_hand = None
                self._deaths = 0  # one utterance further
        self._waiting.extendleft(reversed(tasks))
        worker.pipe.close()
        self._workers.remove(worker)
        if self._waiting and not self._stopping():
            self._workers.append(self._start(worker.device))

    def _start(self, device: str) -> _Worker:
        own = replace(self._assignment, job=self._assignment.job.model_copy(update={"device": device}))
        context = self._starter.context
        ours, theirs = context.Pipe()
        process = context.Process(  # type: ignore[attr-defined]  # typeshed has it in the subclasses only
            target=serve, args=(theirs, own), daemon=False, name="ser-extract worker"
        )
        process.start()
        theirs.close()
        return _Worker(process, ours, device)

    def _end(self) -> None:
        for worker in self._workers:
            if worker.tasks:
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
        self._starter.end()


def serve(pipe: Connection, assignment: Assignment) -> None:
    """The worker: one thread of torch on a CPU; ends when the pipe does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()
    import torch

    threads = 1
    if assignment.job.device != "cpu":
        threads = ACCELERATOR_THREADS
        torch.cuda.set_device(assignment.job.device)
    torch.set_num_threads(threads)
    processor = ShardProcessor(assignment, threads)
    writing: Future[UnitResult] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="commit") as background:
        try:
            while (message := pipe.recv()) is not None:
                unit, poison, alone = message
                encoded = processor.encode(
                    unit,
                    partial(_tell_progress, pipe, unit.modality),
                    partial(_announce, pipe) if alone else None,
                    poison,
                )
                if writing is not None:
                    pipe.send(("done", writing.result()))
                writing = background.submit(processor.commit, unit, *encoded)
                if not pipe.poll():  # nothing to encode meanwhile
                    pipe.send(("done", writing.result()))
                    writing = None
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass  # the parent is gone
        except Exception as error:  # noqa: BLE001  # whatever it is, the parent raises it
            pipe.send(("error", portable(error)))
        finally:
            processor.close()


def _tell_progress(pipe: Connection, modality: str, utterances: int, seconds: float) -> None:
    pipe.send(("progress", (modality, utterances, seconds)))


def _announce(pipe: Connection, name: str) -> None:
    pipe.send(("announce", name))


def portable(error: Exception) -> Exception:
    """The error itself if it survives pickling, else one of ours that says the same."""
    import copy
    import traceback
    from multiprocessing.reduction import ForkingPickler

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
