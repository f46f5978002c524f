"""From a job to a run directory that is ours, and to its finished trainings; judged by ``runs.judge``."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ser_base.errors import PackageMissing
from ser_base.files import replacing
from ser_fusion.errors import RunChanged
from ser_fusion.runs.estimate import is_brief
from ser_fusion.runs.job import FuseJob, Row
from ser_fusion.runs.job_data import JobData
from ser_fusion.runs.listener import Listener
from ser_fusion.runs.memory import claim
from ser_fusion.runs.planning import plan
from ser_fusion.runs.record import describe
from ser_fusion.runs.runners import RUNNERS
from ser_fusion.runs.task import Task
from ser_fusion.study.open import Study

_COLUMNS = (
    "id", "corpus", "label", "speaker", "session", "dialogue", "scenario", "scripted", "gender", "text", "text_hash", "duration", "path",
    "start", "end",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run directory that this command may write, and the trainings that are planned for it.

    Attributes:
        job: The job.
        study: The study of the job.
        job_data: What trainings read: the study, votes, turns that are never scored.
        rows: Rows of the table.
        tasks: All trainings, of all shares.
        start: ``run.json`` as it stands before training.
        device: ``cpu`` or a GPU.
        began: Clock at the start, in seconds.
        earlier: Jobs that were run into the directory before; filled in when it is judged.
        left_out: What of them is not in the table, in sentences.
    """

    job: FuseJob
    study: Study
    job_data: JobData
    rows: Sequence[Row]
    tasks: Sequence[Task]
    start: dict[str, Any]
    device: str
    began: float
    earlier: tuple[FuseJob, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def remaining(self) -> list[Task]:
        """Trainings that are not done yet, of all shares."""
        return [task for task in self.tasks if not task.is_done(self.job.out)]


def prepare(
    job: FuseJob, *, command: str = "", like: Mapping[str, Any] | None = None, study: Study | None = None
) -> Prepared:
    """Opens the study, plans all trainings and claims the run directory; see ``run``."""
    began = time.perf_counter()
    if job.tune and find_spec("optuna") is None:
        raise PackageMissing("--tune", "optuna", "tune")
    job_data, rows, todo, device = plan(job, study)
    study = replace(job_data.study, table=job_data.study.table.iloc[: job_data.scored])
    start = begun(job, job_data, study, rows, todo, command, device)
    if like is not None:
        _same_ground(job.out, like, start)
    claim(job.out, start)
    write_study(job.out, study)
    places: dict[str, Any] = {"job": job, "start": start, "device": device, "began": began}
    return Prepared(study=study, job_data=job_data, rows=rows, tasks=todo, **places)


def write_study(out: Path, study: Study) -> None:
    """``utterances.parquet``, ``folds.csv``, ``excluded.csv``."""
    table = study.table[[name for name in _COLUMNS if name in study.table]].copy()
    table["label"] = [study.classes[n] for n in study.targets]
    with replacing(out / "utterances.parquet") as scratch:
        table.to_parquet(scratch, index=False)
    with replacing(out / "folds.csv") as scratch:
        study.folds.to_csv(scratch)
    with replacing(out / "excluded.csv") as scratch:
        study.excluded.to_csv(scratch, index=False)


def begun(
    job: FuseJob,
    job_data: JobData,
    study: Study,
    rows: Sequence[Row],
    todo: Sequence[Task],
    command: str,
    device: str,
) -> dict[str, Any]:
    """``run.json`` as it stands before training, with what the material and the trainings add to it."""
    start = describe(job, study, rows, command, device)
    start["notes"] += job_data.notes
    start["refit"] = any(task.plan.refit for task in todo) if todo else job.refit is not False
    return {**start, "task": job.task} if job.task == "vad" else start


def _same_ground(out: Path, like: Mapping[str, Any], start: Mapping[str, Any]) -> None:
    keys = ("data_fingerprint", "folds_fingerprint", "classes")
    changed = [
        f"{key.replace('_', ' ')}: {like.get(key)} then, {start[key]} now"
        for key in keys
        if like.get(key) != start[key]
    ]
    if changed:
        raise RunChanged(str(out), tuple(changed))


def train_all(prepared: Prepared, listener: Listener | None = None) -> int:
    """Trains what this share of the job has left; returns the number of processes used."""
    listener, job = listener or Listener(), prepared.job
    mine = prepared.tasks if job.part is None else prepared.tasks[job.part[0] - 1 :: job.part[1]]
    missing = [task for task in mine if not task.is_done(job.out)]
    listener.study(prepared.study, len(mine), len(mine) - len(missing))
    if not missing:
        return 1
    train = RUNNERS[job.runner]
    callbacks: dict[str, Any] = {"on_done": listener.job, "on_epoch": listener.epoch}
    asked = listener.estimates and not is_brief(job, prepared.job_data, missing)
    callbacks["on_estimate"] = listener.estimate if asked else None
    return train(job, prepared.job_data, missing, device=prepared.device, **callbacks)


def trained(
    job: FuseJob,
    listener: Listener,
    *,
    command: str = "",
    like: Mapping[str, Any] | None = None,
    study: Study | None = None,
) -> tuple[Prepared, int]:
    """The run with this share's trainings done, and the number of processes used; see ``run``."""
    prepared = prepare(job, command=command, like=like, study=study)
    return prepared, train_all(prepared, listener)
