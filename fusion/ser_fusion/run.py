"""``ser-fuse`` from a job to a judged run directory; the only place where study, training and evaluation meet."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ser_cache.scratch import sweep
from ser_fusion.derived import derive
from ser_fusion.environment import resolve_device
from ser_fusion.errors import ExtraMissing, RunChanged, RunExists, RunUnreadable
from ser_fusion.evaluation.ensembles import require_members
from ser_fusion.job import FuseJob, Row
from ser_fusion.job_folder import is_done
from ser_fusion.listener import Listener
from ser_fusion.losses.material import Material, material_of
from ser_fusion.planning import Task, tasks
from ser_fusion.run_record import describe, gather, read_done, table_rows, write_json, write_study
from ser_fusion.runners import RUNNERS
from ser_fusion.runners.local import default_workers
from ser_fusion.shares import judging
from ser_fusion.study import Study, open_job


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        out: Run directory.
        remaining: Jobs that other parts (``--jobs i/N``) still have to do; 0 means judged.
        failed: Utterances left out because the extraction failed on them.
        metrics: ``metrics.json``; empty if jobs remain.
        report: ``report.html``; None if jobs remain.
    """

    out: Path
    remaining: int
    failed: int
    metrics: Mapping[str, Any]
    report: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run directory that is ours, and what is to be trained into it.

    Attributes:
        job: What was asked.
        study: On what.
        material: What trainings read: the study, votes, turns that are never scored.
        rows: Rows of the table.
        tasks: All trainings, of all shares.
        start: ``run.json`` as it stands before training.
        device: ``cpu`` or a GPU.
        began: Clock at the start, in seconds.
    """

    job: FuseJob
    study: Study
    material: Material
    rows: Sequence[Row]
    tasks: Sequence[Task]
    start: dict[str, Any]
    device: str
    began: float

    @property
    def remaining(self) -> list[Task]:
        """Trainings that are not done yet, of all shares."""
        return [task for task in self.tasks if not is_done(task, self.job.out)]


def run(
    job: FuseJob,
    *,
    command: str = "",
    listener: Listener | None = None,
    like: Mapping[str, Any] | None = None,
    study: Study | None = None,
) -> Outcome:
    """Trains what is missing, gathers the results, judges them.

    Args:
        job: What to do.
        command: How it was asked for, kept in ``run.json``.
        listener: Told of progress.
        like: ``run.json`` of a run that is to be repeated exactly; refused if cache or folds have changed.
        study: The job's study, if the caller has opened it already (``open_job``).

    Raises:
        FusionError, CacheError, CorpusError: What was asked cannot be done; finished jobs are kept.
    """
    listener = listener or Listener()
    prepared = prepare(job, command=command, like=like, study=study)
    workers = train_all(prepared, listener)
    remaining = len(prepared.remaining)
    if remaining:
        return Outcome(out=job.out, remaining=remaining, failed=prepared.study.failed, metrics={}, report=None)
    with judging(job.out):
        return judge(prepared, listener, workers)


def prepare(
    job: FuseJob, *, command: str = "", like: Mapping[str, Any] | None = None, study: Study | None = None
) -> Prepared:
    """Opens the study, plans all trainings and claims the run directory; see ``run``."""
    began = time.perf_counter()
    if job.tune and find_spec("optuna") is None:
        raise ExtraMissing("--tune", "optuna", "tune")
    material, rows, todo, device = plan(job, study)
    study = replace(material.study, table=material.study.table.iloc[: material.scored])
    start = describe(job, study, rows, command, device)
    start["notes"] += material.notes
    if job.task == "vad":
        start["task"] = job.task
    if like is not None:
        _same_ground(job.out, like, start)
    _claim(job.out, start)
    sweep(job.out, deep=True)
    write_study(job.out, study)
    places: dict[str, Any] = {"job": job, "start": start, "device": device, "began": began}
    return Prepared(study=study, material=material, rows=rows, tasks=todo, **places)


def plan(job: FuseJob, study: Study | None = None) -> tuple[Material, tuple[Row, ...], list[Task], str]:
    """What to learn from, the table's rows, all trainings of all shares, and the device; asked on any machine."""
    study = study or open_job(job)
    require_members(job.ensemble, study.folds, job.seeds)
    rows, device = job.rows(tuple(study.streams)), resolve_device(job.device)
    material = material_of(job, study, labels=job.labels, manifest=job.manifest)
    return material, rows, tasks(job, study, rows, device, material), device


def train_all(prepared: Prepared, listener: Listener | None = None) -> int:
    """Trains what this share of the job has left; returns the number of processes used."""
    listener, job = listener or Listener(), prepared.job
    mine = prepared.tasks if job.part is None else prepared.tasks[job.part[0] - 1 :: job.part[1]]
    missing = [task for task in mine if not is_done(task, job.out)]
    listener.study(prepared.study, mine, len(mine) - len(missing))
    if not missing:
        return 1
    train = RUNNERS[job.runner]
    return train(job, prepared.material, missing, device=prepared.device, on_done=listener.job, on_epoch=listener.epoch)


def judge(prepared: Prepared, listener: Listener, workers: int) -> Outcome:
    """Gathers the jobs' predictions, adds the reference rows, and has everything scored and reported."""
    from ser_fusion.audit_heads import heads_under
    from ser_fusion.evaluation.audit import audit_study, write_audit
    from ser_fusion.evaluation.references import reference_rows, stream_features
    from ser_fusion.evaluation.run_metrics import evaluate_run
    from ser_fusion.reporting import write_report
    from ser_fusion.tuning.summary import write_summary
    from ser_fusion.vad.judge import judge_alone, judge_beside

    job, study, start, todo = prepared.job, prepared.study, prepared.start, prepared.tasks
    if job.task == "vad":
        return judge_alone(prepared, listener, workers)
    listener.step("reference rows")
    features = stream_features(study)
    references = reference_rows(study, list(job.seeds), features=features)
    classified, tests, developments = _classifiers(job, study, listener)
    more = derive(prepared, classified, tests, developments, listener)
    others = [*tests, *more.tests, *(frame for _, frame in references)]
    gather(job.out, todo, others, [*developments, *more.developments])
    finished = {
        **start,
        "rows": table_rows(
            start["rows"], job.out, todo, [*classified, *more.infos, *(info for info, _ in references)], job
        ),
    }
    write_summary(job.out, todo)
    finished |= {"finished": True, "seconds": round(time.perf_counter() - prepared.began, 1), "workers": workers}
    finished["training_seconds"] = round(sum(read_done(task, job.out)["seconds"] for task in todo), 1)
    write_json(job.out / "run.json", finished)
    listener.step("leak audit")
    heads = heads_under(job, listener) if job.audit_heads else None
    write_audit(job.out, audit_study(study, features=features, heads=heads))
    listener.step("evaluation")
    if job.vad_weight:
        judge_beside(prepared, features)
    metrics = evaluate_run(job.out)
    listener.step("report")
    report = write_report(job.out)
    return Outcome(out=job.out, remaining=0, failed=study.failed, metrics=metrics, report=report)


def _claim(out: Path, start: Mapping[str, Any]) -> None:
    """Makes the run directory ours, or refuses one that holds something else."""
    try:
        old = json.loads((out / "run.json").read_text())
    except FileNotFoundError:
        others = {p.name for p in out.iterdir() if not p.name.startswith(".")} if out.is_dir() else set()
        if "run.json" in others:  # another share of the same run made it just now
            return _claim(out, start)
        if others:
            raise RunExists(str(out), ("it has other files and no run.json",)) from None
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, json.JSONDecodeError) as error:
        raise RunUnreadable(str(out), f"run.json cannot be read ({error})") from error
    else:
        ours = FuseJob.model_validate(start["job"]).shared()
        try:
            theirs = FuseJob.model_validate(old["job"]).shared()
        except (KeyError, ValueError) as error:
            raise RunUnreadable(str(out), "its run.json is of another version of ser-fuse") from error
        found = [f"{key}: {theirs[key]!r} there, {ours[key]!r} now" for key in ours if theirs[key] != ours[key]]
        found += [f"{key}: changed since" for key in ("data_fingerprint",) if old.get(key) != start[key]]
        if found:
            raise RunExists(str(out), tuple(found))
    write_json(out / "run.json", start)


def _same_ground(out: Path, like: Mapping[str, Any], start: Mapping[str, Any]) -> None:
    keys = ("data_fingerprint", "folds_fingerprint", "classes")
    changed = [
        f"{key.replace('_', ' ')}: {like.get(key)} then, {start[key]} now"
        for key in keys
        if like.get(key) != start[key]
    ]
    if changed:
        raise RunChanged(str(out), tuple(changed))


def _classifiers(job: FuseJob, study: Study, listener: Listener) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
    """Rows, test and development predictions of the job's scikit-learn classifiers; what is done already is read."""
    if not job.classifier:
        return [], [], []
    from ser_fusion.classifiers.rows import fit_classifiers

    workers = job.workers if job.workers is not None else default_workers(len(study.folds.folds))
    options: dict[str, Any] = {"seeds": job.seeds, "poolings": job.pooling, "norm": job.norm, "workers": workers}
    return fit_classifiers(study, job.classifier, job.out, progress=listener.step, **options)


def repeat(folder: Path, **changes: Any) -> tuple[FuseJob, dict[str, Any]]:
    """The job of a run directory, to be done again elsewhere; and its ``run.json``.

    Raises:
        RunUnreadable: No run there, or one of another version.
    """
    try:
        old: dict[str, Any] = json.loads((folder / "run.json").read_text())
        return FuseJob.model_validate({**old["job"], **changes}), old
    except OSError as error:
        raise RunUnreadable(str(folder), "it has no run.json") from error
    except (json.JSONDecodeError, KeyError, ValueError) as error:
        raise RunUnreadable(str(folder), f"its run.json cannot be used ({str(error).splitlines()[0]})") from error
