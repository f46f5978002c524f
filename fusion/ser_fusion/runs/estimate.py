"""How long a run will take: a few steps of each row are timed before the first training, on a sample of its own frames.

The timed steps are not kept. Early stopping makes the estimate an upper bound ("at most"). The time to read frames and to
judge is left out. A run of up to half a minute is not timed: that takes a second itself, and the bar soon tells.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ser_fusion.frames.features import StreamFrames, stride_of
from ser_fusion.runs.task import names_of, read_frames
from ser_fusion.training.plan import TrainingData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ser_fusion.runs.job import FuseJob
    from ser_fusion.runs.job_data import JobData
    from ser_fusion.runs.task import Task

    Timed = Callable[[Task, JobData, Mapping[str, StreamFrames], int], float]

FEW_STEPS, FEW_FRAMES = 1_000, 2_000_000  # of all trainings: up to so many of both take half a minute on two cores
BUDGET = 2.0  # seconds for all timing; rows that are not reached count as the mean of those that are
SHORT = 15.0  # seconds below which no further row is timed
LONG = 300.0  # seconds from which a larger --stride is proposed
STRIDES = (2, 4, 8, 16, 32)
SLOW = 0.3  # seconds of a step that need no second look: what is not the step itself is small beside it
SCORING = 1 / 3  # cost of scoring an utterance, in units of training on it


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected duration of a run.

    Attributes:
        seconds: Seconds of training on ``workers`` processes.
        workers: Number of processes.
        stops: Whether trainings may stop earlier.
        stride: The smallest larger ``--stride`` that makes the run short, else the largest that still saves time; else None.
        faster: Seconds with that stride.
    """

    seconds: float
    workers: int
    stops: bool
    stride: int | None = None
    faster: float = 0.0

    def __str__(self) -> str:
        most = "at most " if self.stops else ""
        processes = "1 process" if self.workers == 1 else f"{self.workers} processes"
        said = f"Training will take {most}about {_spoken(self.seconds)} on {processes}, by a few steps of each row."
        if self.stride is None:
            return said
        return f"{said} With --stride {self.stride} it would take about {_spoken(self.faster)}."


def estimate(
    job: "FuseJob",
    job_data: "JobData",
    todo: "Sequence[Task]",
    names: Sequence[str],
    workers: int,
    timed: "Timed | None" = None,
) -> Estimate:
    """Times a few steps of each row, on a sample of the frames.

    Args:
        job: For the frames' options.
        job_data: What trainings learn from.
        todo: What is to be trained.
        names: The streams that it reads.
        workers: Processes that will train.
        timed: Times one training step, as ``step_seconds``, which is the default.
    """
    timed = timed or step_seconds
    streams = read_frames(job, job_data.study, names, rows=sample_of(todo))
    began = time.perf_counter()
    first = first_of_each_row(todo)
    each: dict[str, float] = {}
    rows = sampled_rows(todo[0])[:2]  # not counted: the first training of a process loads what all others find loaded
    _seconds(todo[0], job_data, {name: sampled(streams[name], rows) for name in todo[0].plan.streams}, rows, len(rows))
    seconds = 0.0
    for slug, task in first.items():
        if each and (time.perf_counter() - began > BUDGET / 2 or seconds < SHORT):
            break
        each[slug] = timed(task, job_data, streams, 1)
        usual = float(np.mean(list(each.values())))
        seconds = sum(steps_of(task) * each.get(task.row.slug, usual) for task in todo) / workers
    stops = any(task.plan.training.patience is not None for task in todo)
    plain = Estimate(seconds, workers, stops)
    if seconds <= LONG:
        return plain
    slowest = max(each, key=lambda slug: each[slug])
    if not any(streams[name].frame_rate is not None and name != "video" for name in first[slowest].plan.streams):
        return plain
    # a step costs a + b / stride: two strides tell both
    quick = min(timed(first[slowest], job_data, streams, 4), each[slowest])
    fixed = max(0.0, (4 * quick - each[slowest]) / 3) / each[slowest]
    expected = {k: seconds * (fixed + (1 - fixed) / k) for k in STRIDES}
    short = [k for k, value in expected.items() if value <= LONG]
    best = short[0] if short else STRIDES[-1]
    return replace(plain, stride=job.stride * best, faster=expected[best])


def is_brief(job: "FuseJob", job_data: "JobData", todo: "Sequence[Task]") -> bool:
    """Whether training is so short that nobody needs to be told how long it takes; nothing is read for that."""
    steps = [steps_of(task) for task in todo]
    if sum(steps) > FEW_STEPS:
        return False
    ids, layers = list(job_data.study.table.index), job_data.study.layers
    usual = {
        name: float(np.mean(layers[name][0].lengths(ids))) / stride_of(layers[name][0].spec, job.stride)
        for name in names_of(job_data.study, todo)
    }
    each = (task.plan.training.batch * sum(usual[name] for name in task.plan.streams) for task in todo)
    return sum(number * frames for number, frames in zip(steps, each, strict=True)) <= FEW_FRAMES


def first_of_each_row(todo: "Sequence[Task]") -> "dict[str, Task]":
    """The first training of each row of the table."""
    first: dict[str, Task] = {}
    for task in todo:
        first.setdefault(task.row.slug, task)
    return first


def sampled_rows(task: "Task") -> "NDArray[np.int64]":
    """Rows of the study that a task's steps are timed on: three batches, evenly from its training part."""
    rows, size = task.parts["train"], task.plan.training.batch
    return rows[np.linspace(0, len(rows) - 1, num=min(len(rows), 3 * size)).astype(np.int64)]


def sample_of(todo: "Sequence[Task]") -> "NDArray[np.int64]":
    """All rows of the study that ``estimate`` looks at."""
    return np.unique(np.concatenate([sampled_rows(task) for task in first_of_each_row(todo).values()]))


def steps_of(task: "Task") -> float:
    """Training steps of a task, scoring included; of a search with all its trials."""
    plan = task.plan
    sizes = {part: len(task.parts[part]) for part in ("train", "dev", "test")}

    def once(train: int, dev: int) -> float:
        return plan.lasts(train) * (-(-train // plan.training.batch) + SCORING * dev / plan.training.batch)

    total = once(sizes["train"], sizes["dev"]) * max(1, len(plan.dropouts))
    if plan.refit and sizes["dev"]:
        total += once(sizes["train"] + sizes["dev"], 0)
    if task.search is not None:
        inner = task.search.inner.folds
        total += task.search.trials * sum(once(len(cut["train"]), len(cut["dev"])) for cut in inner)
    return total


def step_seconds(task: "Task", job_data: "JobData", streams: Mapping[str, StreamFrames], thin: int = 1) -> float:
    """Seconds of one training step of a task.

    Args:
        task: The task; its rows are sampled evenly.
        job_data: The data that it learns from.
        streams: Frames of all streams.
        thin: Keep every ``thin``-th speech frame, as a larger stride does.
    """
    rows, size = sampled_rows(task), task.plan.training.batch
    few = {name: sampled(streams[name], rows, 1 if name == "video" else thin) for name in task.plan.streams}
    seconds = _seconds(task, job_data, few, rows, min(size, len(rows)))
    if seconds > SLOW or len(rows) <= size:
        return seconds
    return max((_seconds(task, job_data, few, rows, len(rows)) - seconds) / (-(-len(rows) // size) - 1), seconds / 100)


def _seconds(
    task: "Task", job_data: "JobData", few: Mapping[str, StreamFrames], rows: "NDArray[np.int64]", count: int
) -> float:
    """Seconds of one epoch over the first of some sampled rows."""
    from ser_fusion.training.train import train

    plan = replace(task.plan, epochs=1, refit=False, dropouts=(), context=0, re_pair=False)
    votes, ratings = (None if values is None else values[rows] for values in (job_data.votes, job_data.ratings))
    nobody = np.zeros(0, dtype=np.int64)
    parts = {"train": np.arange(count), "dev": nobody, "test": nobody}
    began = time.perf_counter()
    train(plan, TrainingData(few, job_data.study.targets[rows], votes=votes, ratings=ratings), parts)
    return time.perf_counter() - began


def sampled(frames: StreamFrames, rows: "NDArray[np.int64]", thin: int = 1) -> StreamFrames:
    """The frames of some utterances; of speech only every ``thin``-th, as many as a stride so much larger would leave."""
    step = thin if frames.frame_rate is not None else 1
    places = [np.arange(frames.offsets[row], frames.offsets[row + 1], step) for row in rows]
    where = np.concatenate(places)
    offsets = np.concatenate([[0], np.cumsum([len(kept) for kept in places])]).astype(np.int64)
    layers = tuple(layer[where] for layer in frames.layers)
    return StreamFrames(
        layers, offsets, frames.content[where], frames.means[:, rows], frames.variances[:, rows], frames.frame_rate
    )


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
