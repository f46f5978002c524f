"""The runner ``local``: worker processes of this machine, or this process itself.

Tasks (row, fold, seed) are independent: each worker is one process with one thread, all reading the same frames in
memory. On CUDA there is one worker for each visible card, or as many as ``--workers`` says, spread over the cards. A task's
folder gets its ``done.json`` last, so a killed run is continued by the same command: finished tasks are recognised by their
fingerprint and not done again, and the numbers are those of an uninterrupted run.
"""

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from ser_base.machine import each_device, keep_freed_memory, usable_cores
from ser_base.workers import Jobs, Pool
from ser_fusion.frames.features import Arena, attach
from ser_fusion.runs.ahead import ahead, judges, server
from ser_fusion.runs.estimate import estimate
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.job_data import JobData
from ser_fusion.runs.runners.base import JobFailed, OnDone, OnEstimate
from ser_fusion.runs.task import Task, names_of, read_frames


def run(
    job: FuseJob,
    job_data: JobData,
    todo: Sequence[Task],
    *,
    device: str,
    on_done: OnDone,
    on_epoch: Callable[[], None],
    on_estimate: OnEstimate | None = None,
) -> int:
    """Trains in as many processes as the job asks for; see ``Runner``."""
    devices = each_device(device)
    wanted = job.workers if job.workers is not None else usual_workers(devices)
    workers = max(1, min(wanted, len(todo)))
    todo = [replace(task, plan=replace(task.plan, device=devices[0])) for task in todo]
    names = names_of(job_data.study, todo)
    arena = Arena(job.out)
    try:
        if workers == 1:
            _work_here(job, job_data, todo, names, arena, on_done, on_epoch, on_estimate)
            return workers
        with ahead(job):  # one server for the estimate and the trainings
            each = list(islice(cycle(devices), workers))
            if on_estimate is not None and devices[0] == "cpu":
                _estimate_there(job, job_data, todo, names, workers, on_estimate)
            elif on_estimate is not None:  # here, as a GPU's driver takes seconds to start in a further process
                on_estimate(estimate(job, job_data, todo, names, workers))
            streams = read_frames(job, job_data.study, names, arena.allocate)
            handles = {n: arena.handle(s) for n, s in streams.items()}
            _work_there(job, job_data, todo, handles, each, on_done, on_epoch)
    finally:
        arena.close()
    return workers


def _work_here(
    job: FuseJob,
    job_data: JobData,
    todo: Sequence[Task],
    names: Sequence[str],
    arena: Arena,
    on_done: OnDone,
    on_epoch: Callable[[], None],
    on_estimate: OnEstimate | None,
) -> None:
    import torch

    from ser_fusion.runs.folder import do_task

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker: the same sums in the same order
    keep_freed_memory()
    try:
        if on_estimate is not None:
            on_estimate(estimate(job, job_data, todo, names, 1))
        data = job_data.data(read_frames(job, job_data.study, names, arena.allocate))
        for task in todo:
            on_done(task, do_task(task, data, job.out, job.save_attention, on_epoch))
    finally:
        torch.set_num_threads(before)


def _estimate_there(
    job: FuseJob,
    job_data: JobData,
    todo: Sequence[Task],
    names: Sequence[str],
    workers: int,
    on_estimate: OnEstimate,
) -> None:
    """Times a few steps in a worker, before all frames are read: it has loaded what they need."""
    pool = Pool(_estimator, (job, job_data, todo, names, workers), [()], server(forks=True))
    for _, expected in pool.run([None]):
        on_estimate(expected)


def _estimator(
    jobs: Jobs,
    job: FuseJob,
    job_data: JobData,
    todo: Sequence[Task],
    names: Sequence[str],
    workers: int,
) -> None:
    """A worker process that says how long a run will take."""
    import torch

    torch.set_num_threads(1)
    for _ in jobs:
        jobs.done(estimate(job, job_data, todo, names, workers))


def _work_there(
    job: FuseJob,
    job_data: JobData,
    todo: Sequence[Task],
    handles: Mapping[str, Any],
    devices: Sequence[str],
    on_done: OnDone,
    on_epoch: Callable[[], None],
) -> None:
    common = (handles, job_data.data({}), job.out, job.save_attention)
    each, start = [(device,) for device in devices], server(forks=devices[0] == "cpu")
    pool = Pool(_worker, common, each, start, heard=lambda task, news: on_epoch())
    with judges():
        for task, seconds in pool.run(todo):
            on_done(task, seconds)


def _worker(jobs: Jobs, handles: Mapping[str, Any], data: Any, out: Path, attention: int, device: str) -> None:
    """A worker process: attaches the frames, does tasks on its device until there is none."""
    import torch

    from ser_fusion.runs.folder import do_task

    torch.set_num_threads(1)
    if device != "cpu":
        torch.cuda.set_device(device)
    data = replace(data, streams={name: attach(handle) for name, handle in handles.items()})
    for task in jobs:
        own = replace(task, plan=replace(task.plan, device=device))
        try:
            jobs.done(do_task(own, data, out, attention, lambda: jobs.tell("epoch")))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise  # the parent is gone
        except Exception as error:
            raise JobFailed(task.folder, traceback.format_exc()) from error


def usual_workers(devices: Sequence[str]) -> int:
    """One per card, or one per core."""
    return len(devices) if devices[0] != "cpu" else default_workers(sys.maxsize)


def default_workers(tasks: int) -> int:
    """One worker per core this process may use, but no more than there are jobs."""
    cores = usable_cores()
    if sys.platform == "darwin":
        cores = max(1, cores // 2)  # half of them are slow ones
    return max(1, min(cores, tasks))
