"""Runs the trainings of a job over worker processes, and gathers what they leave behind.

Jobs (row, fold, seed) are independent: each worker is one spawned process with one thread, all reading the same frames in
memory. A job's folder gets its ``done.json`` last, so a killed run is continued by the same command: finished jobs are
recognised by their fingerprint and not done again, and the numbers are those of an uninterrupted run.
"""

import multiprocessing
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_fusion.arena import Arena, attach
from ser_fusion.context import previous_turns, with_context
from ser_fusion.errors import FusionError
from ser_fusion.extra_text import read_extra_text
from ser_fusion.features import StreamFrames, read_stream
from ser_fusion.job import FuseJob
from ser_fusion.losses.material import Material
from ser_fusion.planning import Task
from ser_fusion.study import Study

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

OnDone = Callable[[Task, float], None]


class WorkerDied(FusionError, RuntimeError):
    """A worker process ended without giving back its job (killed, or out of memory)."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        return (
            f"A worker process ended with code {self.code} before its job was done; it was probably out of memory.\n"
            "Finished jobs are kept. Run the same command again, with fewer --workers or a larger --stride."
        )


class JobFailed(FusionError, RuntimeError):
    """A job raised an error."""

    def __init__(self, folder: str, trace: str) -> None:
        super().__init__(folder, trace)
        self.folder, self.trace = folder, trace

    def __str__(self) -> str:
        return f"{self.folder} failed; finished jobs are kept.\n{self.trace}"


def read_frames(job: FuseJob, study: Study, names: Sequence[str], allocate: Any = None) -> dict[str, StreamFrames]:
    """The frames of these streams as the job wants them: stride, CLS only, normalised per speaker or corpus.

    Raises:
        FusionError: ``--norm speaker`` without speakers, or a speaker without neutral speech.
    """
    groups, reference = _speakers(job, study)
    ids = list(study.table.index)
    more = list(read_extra_text(job.extra_text, study).ids) if job.extra_text else []
    extra = {} if allocate is None else {"allocate": allocate}
    before = previous_turns(study, job.context) if job.context else None
    out = {}
    for name in names:
        kind: dict[str, Any] = {"stride": job.stride, "first_only": name == "text" and job.text_input == "cls"}
        entries = study.layers[name]
        frames = read_stream(
            entries, ids + more if name == "text" else ids, groups=groups, reference=reference, **kind, **extra
        )
        if before is not None:
            frames = with_context(frames, entries, before, partial(read_stream, entries, **kind), **extra)
        out[name] = frames
    return out


class NoReference(FusionError, ValueError):
    """Speakers cannot be normalised by their own speech."""

    def __init__(self, norm: str, problem: str) -> None:
        super().__init__(norm, problem)
        self.norm, self.problem = norm, problem

    def __str__(self) -> str:
        return f"--norm {self.norm} is not possible: {self.problem}.\nUse --norm train, or correct the manifest."


def _speakers(job: FuseJob, study: Study) -> tuple[Any, Any]:
    if job.norm == "train":
        return None, None
    if job.norm == "corpus":
        return np.unique(study.table["corpus"].to_numpy().astype(str), return_inverse=True)[1].astype(np.int64), None
    speakers = study.table["speaker"]
    if speakers.isna().any():
        raise NoReference(job.norm, f"{int(speakers.isna().sum()):,} utterances have no speaker")
    names, groups = np.unique(speakers.to_numpy().astype(str), return_inverse=True)
    if job.norm == "speaker":
        return groups.astype(np.int64), None
    neutral = next((name for name in study.classes if name.lower().startswith("neu")), None)
    if neutral is None:
        raise NoReference(job.norm, f"no class is called neutral; classes are {', '.join(study.classes)}")
    reference = (study.targets == study.classes.index(neutral)) & True
    lacking = [str(name) for n, name in enumerate(names) if not (reference & (groups == n)).any()]
    if lacking:
        raise NoReference(job.norm, f"{len(lacking)} speakers have no neutral utterance: {', '.join(lacking[:3])}")
    return groups.astype(np.int64), reference


def run_tasks(
    job: FuseJob,
    material: Material,
    todo: Sequence[Task],
    out: Path,
    *,
    workers: int,
    on_done: OnDone,
    on_epoch: Callable[[], None],
) -> None:
    """Trains everything in ``todo``.

    Args:
        job: For the frames' options.
        material: Whose frames, and what is learned from beside the class numbers.
        todo: Jobs that are not done yet.
        out: Run directory.
        workers: Processes; with one, this process works itself.
        on_done: Called with each finished job and its seconds.
        on_epoch: Called after every epoch of any job.

    Raises:
        JobFailed, WorkerDied: With finished jobs kept.
    """
    if not todo:
        return
    names = [name for name in material.study.streams if any(name in task.plan.streams for task in todo)]
    if workers <= 1:
        _work_here(job, material, todo, out, names, on_done, on_epoch)
        return
    arena = Arena()
    try:
        streams = read_frames(job, material.study, names, arena.allocate)
        handles = {n: arena.handle(s) for n, s in streams.items()}
        _work_there(job, material, todo, out, handles, workers, on_done, on_epoch)
    finally:
        arena.close()


def _work_here(
    job: FuseJob,
    material: Material,
    todo: Sequence[Task],
    out: Path,
    names: Sequence[str],
    on_done: OnDone,
    on_epoch: Callable[[], None],
) -> None:
    import torch

    from ser_fusion.job_folder import do_task

    study = material.study
    streams = read_frames(job, study, names)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker: the same sums in the same order
    try:
        for task in todo:
            ids = list(study.table.index)
            more = (material.votes, material.ratings)
            seconds = do_task(
                task, streams, study.targets, ids, study.classes, out, job.save_attention, on_epoch, *more
            )
            on_done(task, seconds)
    finally:
        torch.set_num_threads(threads)


def _work_there(
    job: FuseJob,
    material: Material,
    todo: Sequence[Task],
    out: Path,
    handles: Mapping[str, Any],
    workers: int,
    on_done: OnDone,
    on_epoch: Callable[[], None],
) -> None:
    context = multiprocessing.get_context("spawn")
    jobs: Any = context.Queue()
    news: Any = context.Queue()
    study = material.study
    ids = list(study.table.index)
    common = (handles, study.targets, ids, study.classes, out, job.save_attention, material.votes, material.ratings)
    for number in range(len(todo)):
        jobs.put((number, todo[number]))
    for _ in range(workers):
        jobs.put(None)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a worker loads torch
    processes: list[BaseProcess] = [
        context.Process(target=_worker, args=(common, jobs, news), daemon=True) for _ in range(workers)
    ]
    try:
        for process in processes:
            process.start()
        _listen(todo, processes, news, on_done, on_epoch)
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            if process.pid is not None:
                process.join(5)
        for channel in (jobs, news):
            channel.close()
            channel.cancel_join_thread()


def _listen(
    todo: Sequence[Task], processes: "Sequence[BaseProcess]", news: Any, on_done: OnDone, on_epoch: Callable[[], None]
) -> None:
    open_jobs = len(todo)
    while open_jobs:
        try:
            kind, number, value = news.get(timeout=1.0)
        except queue.Empty:
            dead = [p for p in processes if p.exitcode not in (None, 0)]
            if dead or all(p.exitcode is not None for p in processes):
                raise WorkerDied(dead[0].exitcode if dead else 0) from None
            continue
        if kind == "epoch":
            on_epoch()
        elif kind == "done":
            open_jobs -= 1
            on_done(todo[number], value)
        else:
            raise JobFailed(todo[number].folder, value)


def _worker(common: tuple[Any, ...], jobs: Any, news: Any) -> None:
    """A worker process: attaches the frames, does jobs until there is none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_die_with_parent, daemon=True).start()
    import torch

    from ser_fusion.job_folder import do_task

    torch.set_num_threads(1)
    handles, targets, ids, classes, out, attention, *more = common
    streams = {name: attach(handle) for name, handle in handles.items()}
    while (item := jobs.get()) is not None:
        number, task = item
        try:
            seconds = do_task(
                task, streams, targets, ids, classes, out, attention, lambda: news.put(("epoch", 0, 0.0)), *more
            )
        except Exception:  # noqa: BLE001 - whatever it is, the parent must hear of it
            news.put(("failed", number, traceback.format_exc()))
            return
        news.put(("done", number, seconds))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # the parent was killed: nobody waits for this worker's results


def default_workers(tasks: int) -> int:
    """One worker per core this process may use, but no more than there are jobs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if sys.platform == "darwin":
        cores = max(1, cores // 2)  # half of them are slow ones
    return max(1, min(cores, tasks))
