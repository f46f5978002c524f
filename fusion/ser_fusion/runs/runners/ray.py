"""The runner ``ray``: Ray Data on this machine or on a cluster.

An actor opens cache and folds itself, reads the frames once, and takes one task at a time; nothing but names and fingerprints
passes through Ray. Results go from the actor to the run directory, which every node must reach under the same path, as it
must the cache. Ray restarts actors that die and gives their task out again twice. Frames are read once per actor, not once
per machine as by the runner ``local``.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ser_base import ray_pool
from ser_base.machine import each_device
from ser_base.workers import WorkersDie
from ser_fusion.errors import FusionError
from ser_fusion.runs.folder import do_task
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.job_data import JobData
from ser_fusion.runs.runners.base import JobFailed, OnDone, OnEstimate
from ser_fusion.runs.runners.local import default_workers
from ser_fusion.runs.task import Task, names_of, read_frames

PATHS = ("cache", "out", "manifest", "folds", "extra_text")


class OtherGround(FusionError, RuntimeError):
    """A node plans another task than the machine that asks for it."""

    folder: str
    got = (
        "{folder} is another task on a node of the Ray cluster than here: another cache, other folds or another "
        "version of ser-fusion."
    )
    next = "Give all nodes the same packages and the same cache under the same path."


class Worker(ray_pool.Actor):
    """What an actor holds: the study, its tasks by folder, and their frames, read once.

    Args:
        job: The job, with absolute paths.
    """

    def __init__(self, job: FuseJob) -> None:
        import torch

        from ser_fusion.runs.planning import plan

        torch.set_num_threads(1)  # as in a local worker: the same sums in the same order
        self.job = job
        self.job_data, _, tasks, _ = plan(job)
        self.tasks = {task.folder: task for task in tasks}
        self.streams = read_frames(job, self.job_data.study, names_of(self.job_data.study, tasks))

    def do(self, unit: tuple[str, str]) -> tuple[str, float]:
        """Trains a task, given as (folder, fingerprint); returns its folder and its seconds."""
        try:
            return unit[0], self.train(*unit)
        except OtherGround:
            raise
        except Exception as error:
            raise JobFailed(unit[0], traceback.format_exc()) from error

    def train(self, folder: str, fingerprint: str) -> float:
        """Does one task, unless it is done; returns its seconds."""
        task, job = self.tasks.get(folder), self.job
        if task is None or task.fingerprint != fingerprint:
            raise OtherGround(folder)
        if task.is_done(job.out):
            return 0.0
        task = replace(task, plan=replace(task.plan, device=each_device(task.plan.device)[0]))
        return do_task(task, self.job_data.data(self.streams), job.out, job.save_attention, lambda: None)


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
    """Trains on Ray; see ``Runner``. Epochs are not heard of, and the time is not estimated: nodes hold the frames."""
    changed: dict[str, Any] = {name: getattr(job, name).absolute() for name in PATHS if getattr(job, name) is not None}
    if job.labels and Path(job.labels).is_file():
        changed["labels"] = str(Path(job.labels).absolute())
    there = job.model_copy(update=changed)  # actors live in other directories
    gpus = job.ray_gpus if job.ray_gpus is not None else float(device != "cpu")
    tasks = {task.folder: task for task in todo}
    units = [(task.folder, task.fingerprint) for task in todo]
    with ray_pool.session(job.ray_address, default_workers(len(todo))) as ray:
        workers = ray_pool.room(ray, gpus) if job.workers is None else max(1, job.workers)
        workers = min(workers, len(units))
        for folder, seconds in ray_pool.results(ray, Worker, (there,), units, workers=workers, gpus=gpus):
            on_done(tasks[folder], seconds)
    if not all(task.is_done(job.out) for task in todo):
        raise WorkersDie(ray_pool.RETRIES + 1, None)
    return workers
