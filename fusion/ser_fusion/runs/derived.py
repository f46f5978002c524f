"""Rows that a run makes of what it has trained, without training more: ensembles, and heads that lost a stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ser_base.machine import each_device
from ser_fusion.evaluation.parts import parts_of
from ser_fusion.frames.features import StreamFrames
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.job_data import JobData
from ser_fusion.runs.task import Task

if TYPE_CHECKING:
    from ser_fusion.evaluation.references import Reference
    from ser_fusion.runs.listener import Listener
    from ser_fusion.runs.prepare import Prepared


# What a trained head is worth when a stream is lost: its test part again, with every proper subset of its streams.
#
# Nothing is trained. The lost stream has no frames, for every utterance: it pools to zeros, gives no keys to ask for and asks
# nothing; heads that dropped streams in training scale up what is left, as they did there. (In the preset ``as-found``, which
# knows no masks, a lost stream is silence: frames of zeros.) The weights are those on disk, so rows may be added to a
# finished run; results are kept in the job's folder.
NAME = "lost-streams.parquet"


def subsets(streams: Sequence[str]) -> list[tuple[str, ...]]:
    """Proper, non-empty subsets of the streams, larger ones first, in the streams' order."""
    return [kept for size in range(len(streams) - 1, 0, -1) for kept in combinations(streams, size)]


def lost_stream_rows(
    job: FuseJob, job_data: JobData, todo: Sequence[Task], rows: Sequence[Mapping[str, Any]], listener: "Listener"
) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """One row for each multi-stream head and each proper subset of its streams.

    Args:
        job: The job, with its frame options and its run directory.
        job_data: The data whose frames are read.
        todo: All finished trainings.
        rows: Row information of the heads.
        listener: Receives the name of the step.

    Returns:
        Row information (``kind`` ``lost``, ``of`` the head's slug, ``kept`` the streams that are left) and predictions.
    """
    several = [task for task in todo if len(task.plan.streams) > 1]
    missing = [task for task in several if not (job.out / task.folder / NAME).is_file()]
    if missing:
        from ser_fusion.runs.task import read_frames

        listener.step("streams lost at test time")
        names = [name for name in job_data.study.streams if any(name in task.plan.streams for task in missing)]
        streams = read_frames(job, job_data.study, names)
        for task in missing:
            _evaluate(task, streams, job_data, job.out)
    made = []
    for row in rows:
        own = [task for task in several if task.row.slug == row["slug"]]
        if not own:
            continue
        frames = pd.concat([pd.read_parquet(job.out / task.folder / NAME) for task in own], ignore_index=True)
        for kept in subsets(own[0].plan.streams):
            info = _info(row, kept, own[0].plan.streams)
            part = frames[frames["kept"] == "+".join(kept)].drop(columns="kept")
            made.append((info, part.assign(row=info["slug"])))
    return made


def _info(row: Mapping[str, Any], kept: tuple[str, ...], streams: tuple[str, ...]) -> dict[str, Any]:
    lost = [name for name in streams if name not in kept]
    return {
        **row,
        "name": f"{row['name']}, {'+'.join(kept)} at test",
        "slug": f"{row['slug']}-only-{'+'.join(kept)}",
        "kind": "lost",
        "of": row["slug"],
        "kept": list(kept),
        "departures": [],
        "note": f"trained on {'+'.join(streams)}; {' and '.join(lost)} lost at test time, nothing trained again",
    }


def _evaluate(task: Task, streams: Mapping[str, StreamFrames], job_data: JobData, out: Path) -> None:
    """Test predictions of one trained head for every subset, written into its folder."""
    import torch

    from ser_base.files import replacing
    from ser_fusion.frames.feed import Feed
    from ser_fusion.heads.model import load_model
    from ser_fusion.runs.folder import predictions
    from ser_fusion.training.scoring import posteriors

    data, rows = job_data.data(streams), task.parts["test"]
    device = torch.device(each_device(task.plan.device)[0])
    model = load_model(out / task.folder).to(device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in training: the same sums in the same order
    try:
        frames = []
        for kept in subsets(task.plan.streams):
            lost = [name for name in task.plan.streams if name not in kept]
            feed = Feed(streams, task.plan.streams, pad_to=task.plan.pad_to, device=device, lost=lost)
            frame = predictions(task, rows, posteriors(model, feed, rows), data)
            frames.append(frame.assign(kept="+".join(kept)))
    finally:
        torch.set_num_threads(threads)
    with replacing(out / task.folder / NAME) as scratch:
        pd.concat(frames, ignore_index=True).to_parquet(scratch, index=False)


@dataclass(slots=True)
class Derived:
    """Further rows of a table.

    Attributes:
        infos: Row information.
        tests: Their test predictions.
        developments: Their development predictions, where they have any.
    """

    infos: list[dict[str, Any]] = field(default_factory=list)
    tests: list[pd.DataFrame] = field(default_factory=list)
    developments: list[pd.DataFrame] = field(default_factory=list)


def derive(
    prepared: "Prepared",
    classified: Sequence[Mapping[str, Any]],
    tests: Sequence[pd.DataFrame],
    developments: Sequence[pd.DataFrame],
    references: "Sequence[Reference]",
    listener: "Listener",
) -> Derived:
    """The rows that ``--stack``, ``--ensemble`` and ``--lost-streams`` add.

    Args:
        prepared: The run, with all its trainings done.
        classified: Row information of the classifiers.
        tests: Their test predictions.
        developments: Their development predictions.
        references: The reference rows, whose probes are stacked.
        listener: Receives the names of long steps.
    """
    job, derived, study = prepared.job, Derived(), prepared.study
    heads: dict[str, list[pd.DataFrame]] = {"test": [], "dev": []}
    if (job.stack == "probes" or job.ensemble) and prepared.tasks:
        for part, frames in heads.items():
            frames += [pd.read_parquet(job.out / task.folder / f"{part}.parquet") for task in prepared.tasks]
    if job.stack == "probes" and prepared.tasks:
        from ser_fusion.evaluation.parts import speakers_of
        from ser_fusion.evaluation.stacking import stacked_rows

        parts = parts_of(study.table.index, study.folds.folds, prepared.start["refit"])
        present = {name: entry.lengths(list(study.table.index)) > 0 for name, entry in study.streams.items()}
        whole, dev = (pd.concat(frames, ignore_index=True) for frames in heads.values())
        places = (references, study.table, parts, present, study.classes, speakers_of(study.table))
        for stacked in stacked_rows(prepared.start["rows"], whole, dev, *places):
            derived.infos.append(stacked.info)
            derived.tests.append(stacked.test)
            derived.developments += [] if stacked.dev is None else [stacked.dev]
    if job.ensemble:
        from ser_fusion.evaluation.ensembles import ensemble_rows
        from ser_fusion.evaluation.parts import speakers_of

        whole = pd.concat([*heads["test"], *tests], ignore_index=True)
        dev = pd.concat([*heads["dev"], *developments], ignore_index=True)
        rows = [*prepared.start["rows"], *(dict(row) for row in classified)]
        for ensemble in ensemble_rows(
            job.ensemble, rows, whole, dev if len(dev) else None, study.classes, speakers_of(study.table)
        ):
            derived.infos.append(ensemble.info)
            derived.tests.append(ensemble.test)
            derived.developments += [] if ensemble.dev is None else [ensemble.dev]
    if job.lost_streams:
        for info, frame in lost_stream_rows(job, prepared.job_data, prepared.tasks, prepared.start["rows"], listener):
            derived.infos.append(info)
            derived.tests.append(frame)
    return derived
