"""``ser-fuse`` from a job to a judged run directory; the only place where study, training and evaluation meet."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ser_base.errors import SerError
from ser_fusion.errors import RecordBroken, RecordMissing, RunUnreadable
from ser_fusion.evaluation.records import Started, read_record
from ser_fusion.runs.derived import derive
from ser_fusion.runs.finished import Outcome, note
from ser_fusion.runs.job import FuseJob, open_job
from ser_fusion.runs.kept import kept_audit, kept_references
from ser_fusion.runs.listener import Listener
from ser_fusion.runs.memory import asked_jobs, grown, kept, record
from ser_fusion.runs.planning import tasks
from ser_fusion.runs.prepare import Prepared, begun, prepare, train_all
from ser_fusion.runs.record import gather, read_done, table_rows
from ser_fusion.runs.runners.local import default_workers
from ser_fusion.runs.shares import judging
from ser_fusion.study.open import Study


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
    listener, study = listener or Listener(), study or open_job(job)
    for one in asked_jobs(job.out, like, job.model_dump(mode="json")) if like is not None else ():
        train_all(
            prepare(one, command=command, like=like, study=study), listener
        )  # as they were run, the first one first
    prepared = prepare(job, command=command, like=like, study=study)
    workers = train_all(prepared, listener)
    remaining = len(prepared.remaining)
    if remaining:
        return Outcome(out=job.out, remaining=remaining, failed=prepared.study.failed, metrics={}, report=None)
    with judging(job.out):
        outcome = judge(prepared, listener, workers)
        note(job, study, len(prepared.tasks), outcome)
        return outcome


def remember(prepared: Prepared) -> Prepared:
    """The run with the rows and seeds that earlier commands have finished in the same directory."""
    job, study = prepared.job, prepared.study
    old = read_record(job.out / "run.json", Started)
    earlier = [one for one in asked_jobs(job.out, old, job.model_dump(mode="json")) if one != job]
    if not earlier:
        return prepared
    planned = [
        (one, tasks(one, study, one.rows(tuple(study.streams)), prepared.device, prepared.material)) for one in earlier
    ]
    before = kept(job.out, prepared.rows, prepared.tasks, planned)
    whole = grown(job, before)
    start = begun(
        whole, prepared.material, study, before.rows, before.tasks, prepared.start["command"], prepared.device
    )
    start |= {"job": prepared.start["job"], "notes": [*start["notes"], *before.notes]}
    changed: dict[str, Any] = {"rows": before.rows, "tasks": before.tasks, "left_out": before.notes}
    return replace(prepared, job=whole, start=start, earlier=tuple(earlier), **changed)


def judge(prepared: Prepared, listener: Listener, workers: int) -> Outcome:
    """Gathers the jobs' predictions, adds the reference rows, and has everything scored and reported."""
    from ser_fusion.evaluation.audit import audit_study, write_audit
    from ser_fusion.evaluation.probes import Fits
    from ser_fusion.evaluation.run_metrics import evaluate_run
    from ser_fusion.reporting.report import write_report
    from ser_fusion.runs.audit_heads import heads_under
    from ser_fusion.runs.ratings import judge_alone, judge_beside
    from ser_fusion.runs.tuning.summary import write_summary
    from ser_fusion.study.data import stream_features

    prepared = remember(prepared)
    job, study, start, todo = prepared.job, prepared.study, prepared.start, prepared.tasks
    if job.task == "vad":
        return judge_alone(prepared, listener, workers)
    listener.step("reference rows")
    features = cache(lambda: stream_features(study))
    processes = None if job.workers is None else max(1, job.workers)
    fits, refit = Fits(job.out / "probes", processes), start["refit"]
    references = kept_references(study, job.out, job.seeds, features, fits, refit, listener.step)
    classified, tests, developments = _classifiers(prepared, listener)
    more = derive(prepared, classified, tests, developments, references, listener)
    others = [*tests, *more.tests, *(one.test for one in references)]
    learned = [one.dev for one in references if one.dev is not None]
    gather(job.out, todo, others, [*developments, *more.developments, *learned])
    finished = {
        **start,
        "rows": table_rows(
            start["rows"], job.out, todo, [*classified, *more.infos, *(one.info for one in references)], job
        ),
    }
    write_summary(job.out, todo)
    finished |= {"finished": True, "seconds": round(time.perf_counter() - prepared.began, 1), "workers": workers}
    finished["training_seconds"] = round(sum(read_done(task, job.out)["seconds"] for task in todo), 1)
    record(job.out, finished)
    listener.step("leak audit")
    if job.audit_heads:
        heads = heads_under(audited(prepared), listener)
        audit = audit_study(study, features=features(), refit=refit, fits=fits, heads=heads)
    else:
        apart = Fits(workers=processes)  # its probes are scored and not kept
        audit = kept_audit(study, job.out, features, apart, refit, listener.step)
    write_audit(job.out, audit)
    listener.step("evaluation")
    if job.vad_weight:
        judge_beside(prepared, features())
    metrics = evaluate_run(job.out)
    listener.step("report")
    report = write_report(job.out)
    told: dict[str, Any] = {"metrics": metrics, "report": report, "left_out": prepared.left_out}
    return Outcome(out=job.out, remaining=0, failed=study.failed, **told)


def audited(prepared: Prepared) -> FuseJob:
    """The job with the seeds of those commands that asked for an audit with heads."""
    first = FuseJob.model_validate(prepared.start["job"])
    seeds = [seed for one in (*prepared.earlier, first) if one.audit_heads for seed in one.seeds]
    return prepared.job.model_copy(update={"seeds": tuple(dict.fromkeys(seeds))})


def _classifiers(prepared: Prepared, listener: Listener) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
    """Rows, test and development predictions of the scikit-learn classifiers; what is done already is read."""
    job, study = prepared.job, prepared.study
    if not any(one.classifier for one in (job, *prepared.earlier)):
        return [], [], []
    from ser_fusion.runs.classifier_rows import fit_classifiers

    workers = job.workers if job.workers is not None else default_workers(len(study.folds.folds))
    asked = tuple(prepared.start["job"]["seeds"])  # the job's own seeds are those of all rows together
    options: dict[str, Any] = {"seeds": asked, "poolings": job.pooling, "norm": job.norm, "workers": workers}
    options["earlier"] = [(one.classifier, one.pooling, one.seeds) for one in prepared.earlier]
    options["refit"] = prepared.start["refit"]
    return fit_classifiers(study, job.classifier, job.out, progress=listener.step, **options)


def repeat(folder: Path, **changes: Any) -> tuple[FuseJob, dict[str, Any]]:
    """The job of a run directory, to be done again elsewhere; and its ``run.json``.

    Raises:
        RunUnreadable: No run there, or one of another version.
    """
    try:
        old = read_record(folder / "run.json", Started)
        return FuseJob.model_validate({**old["job"], **changes}), old
    except RecordMissing as error:
        raise RunUnreadable(str(folder), "it has no run.json") from error
    except RecordBroken as error:
        raise RunUnreadable(str(folder), f"run.json: {error.problem}") from error
    except (SerError, ValueError, TypeError) as error:
        raise RunUnreadable(str(folder), f"its run.json cannot be used ({str(error).splitlines()[0]})") from error
