"""``ser-fuse`` from a job to a judged run directory: the only place where study, training and evaluation meet.

A trained run is judged with the rows of earlier commands, reference rows, classifiers, derived rows and the leak audit.
"""

import gc
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from ser_base.errors import SerError
from ser_base.files import locked, replacing, write_json
from ser_fusion.errors import ClassMissing, ContextImpossible, RecordBroken, RecordMissing, RunUnreadable
from ser_fusion.evaluation.audit import PROTOCOLS, Heads
from ser_fusion.evaluation.records import Done, Started, read_record
from ser_fusion.runs.ahead import drawers
from ser_fusion.runs.derived import derive
from ser_fusion.runs.environment import JUDGING, makers
from ser_fusion.runs.finished import Outcome, note
from ser_fusion.runs.job import NORMS, FuseJob, open_job
from ser_fusion.runs.kept import kept_audit, kept_references
from ser_fusion.runs.listener import Listener
from ser_fusion.runs.memory import asked_jobs, grown, kept, record
from ser_fusion.runs.planning import tasks
from ser_fusion.runs.prepare import Prepared, begun, trained
from ser_fusion.runs.ratings import judge_alone, judge_beside
from ser_fusion.runs.runners.local import default_workers
from ser_fusion.runs.task import Task
from ser_fusion.runs.tuning.search import write_summary
from ser_fusion.study.data import stream_features
from ser_fusion.study.open import Study
from ser_fusion.study.usable import NoReference

REASONS = (ClassMissing, ContextImpossible, NoReference)
"""Why a protocol of the leak audit cannot be followed although the run's own can."""


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
        job: The job.
        command: The command line, kept in ``run.json``.
        listener: Receives the progress.
        like: ``run.json`` of a run that is to be repeated exactly; refused if cache or folds have changed.
        study: The job's study, if the caller has opened it already (``open_job``).

    Raises:
        FusionError, CacheError, CorpusError: The job cannot be done; finished trainings are kept.

    Examples:
        >>> from ser_fusion import FuseJob, run
        >>> job = FuseJob(cache="cache", out="results", fusion=("audio",), layer="last", epochs=1, workers=0)
        >>> outcome = run(job)
        >>> [row["name"] for row in outcome.metrics["rows"]][0], outcome.report.name
        ('audio', 'report.html')
    """
    listener, study = listener or Listener(), study or open_job(job)
    repeated = asked_jobs(job.out, like, job.model_dump(mode="json")) if like is not None else ()
    for each in repeated:  # as they were run, the first one first
        trained(each, listener, command=command, like=like, study=study)
    prepared, workers = trained(job, listener, command=command, like=like, study=study)
    remaining = len(prepared.remaining)
    if remaining:
        return Outcome(out=job.out, remaining=remaining, failed=prepared.study.failed, metrics={}, report=None)
    with locked(job.out / ".judging"):  # another share may end at the same moment
        outcome = judge(prepared, listener, workers)
        note(job, study, len(prepared.tasks), outcome)
        return outcome


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


def judge(prepared: Prepared, listener: Listener, workers: int) -> Outcome:
    """Gathers the jobs' predictions, adds the reference rows, and has everything scored and reported."""
    from ser_fusion.reporting.plots import FEW

    gc.freeze()  # the libraries stay: collections look only at what judging makes
    prepared = remember(prepared)
    job = prepared.job
    if job.task == "vad":
        return judge_alone(prepared, listener, workers)
    processes = default_workers(sys.maxsize) if job.workers is None else max(1, job.workers)
    plots = 3 * len(prepared.rows) * (1 if job.stack == "none" else 2)  # about three for a row, and for its stack
    with drawers() if processes > 1 and plots >= 2 * FEW else nullcontext():
        return _judged(prepared, listener, workers, processes)


def _judged(prepared: Prepared, listener: Listener, workers: int, processes: int) -> Outcome:
    from ser_fusion.evaluation.audit import audit_study
    from ser_fusion.evaluation.probes import Fits
    from ser_fusion.evaluation.run_metrics import evaluate_run
    from ser_fusion.reporting.report import write_report

    job, study, start, todo = prepared.job, prepared.study, prepared.start, prepared.tasks
    listener.step("reference rows")
    features = cache(lambda: stream_features(study))
    fits, refit = Fits(job.out / "probes", processes), start["refit"]
    references = kept_references(study, job.out, job.seeds, features, fits, refit, listener.step)
    classified, tests, developments = _classifiers(prepared, listener)
    more = derive(prepared, classified, tests, developments, references, listener)
    others = [*tests, *more.tests, *(reference.test for reference in references)]
    learned = [reference.dev for reference in references if reference.dev is not None]
    gather(job.out, todo, others, [*developments, *more.developments, *learned])
    finished = {
        **start,
        "rows": table_rows(
            start["rows"], job.out, todo, [*classified, *more.infos, *(reference.info for reference in references)], job
        ),
    }
    write_summary(job.out, todo)
    finished |= {"finished": True, "seconds": round(time.perf_counter() - prepared.began, 1), "workers": workers}
    finished["training_seconds"] = round(
        sum(read_record(job.out / task.folder / "done.json", Done)["seconds"] for task in todo), 1
    )
    record(job.out, finished)
    listener.step("leak audit")
    if job.audit_heads:
        heads = heads_under(audited(prepared), listener)
        audit = audit_study(study, features=features(), refit=refit, fits=fits, heads=heads)
    else:
        apart = Fits(job.out / "probes", processes, reads_only=True)  # its own probes are scored and not kept
        audit = kept_audit(study, job.out, features, apart, refit, listener.step)
    write_json(job.out / "audit.json", audit)
    listener.step("evaluation")
    if job.vad_weight:
        judge_beside(prepared, features())
    metrics = evaluate_run(job.out, made_by=makers(*JUDGING))
    listener.step("report")
    report = write_report(job.out, workers=processes, reuse=True)
    results: dict[str, Any] = {"metrics": metrics, "report": report, "left_out": prepared.left_out}
    return Outcome(out=job.out, remaining=0, failed=study.failed, **results)


def remember(prepared: Prepared) -> Prepared:
    """The run with the rows and seeds that earlier commands have finished in the same directory."""
    job, study = prepared.job, prepared.study
    old = read_record(job.out / "run.json", Started)
    earlier = [other for other in asked_jobs(job.out, old, job.model_dump(mode="json")) if other != job]
    if not earlier:
        return prepared
    planned = [
        (other, tasks(other, study, other.rows(tuple(study.streams)), prepared.device, prepared.job_data))
        for other in earlier
    ]
    before = kept(job.out, prepared.rows, prepared.tasks, planned)
    whole = grown(job, before)
    start = begun(
        whole, prepared.job_data, study, before.rows, before.tasks, prepared.start["command"], prepared.device
    )
    start |= {"job": prepared.start["job"], "notes": [*start["notes"], *before.notes]}
    changed: dict[str, Any] = {"rows": before.rows, "tasks": before.tasks, "left_out": before.notes}
    return replace(prepared, job=whole, start=start, earlier=tuple(earlier), **changed)


def _classifiers(prepared: Prepared, listener: Listener) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
    """Rows, test and development predictions of the scikit-learn classifiers; what is done already is read."""
    job, study = prepared.job, prepared.study
    if not any(other.classifier for other in (job, *prepared.earlier)):
        return [], [], []
    from ser_fusion.runs.classifier_rows import fit_classifiers

    workers = job.workers if job.workers is not None else default_workers(len(study.folds.folds))
    asked = tuple(prepared.start["job"]["seeds"])  # the job's own seeds are those of all rows together
    options: dict[str, Any] = {"seeds": asked, "poolings": job.pooling, "norm": job.norm, "workers": workers}
    options["earlier"] = [(other.classifier, other.pooling, other.seeds) for other in prepared.earlier]
    options["refit"] = prepared.start["refit"]
    return fit_classifiers(study, job.classifier, job.out, progress=listener.step, **options)


def gather(
    out: Path, todo: Sequence[Task], others: Sequence[pd.DataFrame], developments: Sequence[pd.DataFrame] = ()
) -> None:
    """``predictions.parquet`` and ``development.parquet`` from the jobs' folders and from other rows, in the table's order."""
    order = sorted(todo, key=lambda task: (task.seed, task.fold))
    slugs = list(dict.fromkeys(task.row.slug for task in todo))
    order.sort(key=lambda task: slugs.index(task.row.slug))
    for part, name in (("test", "predictions"), ("dev", "development")):
        frames = [pd.read_parquet(out / task.folder / f"{part}.parquet") for task in order]
        frames = [frame for frame in frames if len(frame)]
        frames += list(others if part == "test" else developments)
        if frames:
            with replacing(out / f"{name}.parquet") as scratch:
                pd.concat(frames, ignore_index=True).to_parquet(scratch, index=False)


def table_rows(
    rows: list[dict[str, Any]], out: Path, todo: Sequence[Task], references: list[dict[str, Any]], job: FuseJob
) -> list[dict[str, Any]]:
    """All rows of the table, with the trained ones' parameters; in the study's table the random row stands first."""
    sizes: dict[str, int] = {}
    for task in todo:
        sizes.setdefault(task.row.slug, int(read_record(out / task.folder / "done.json", Done)["parameters"]))
    trained = [{**row, "parameters": sizes[row["slug"]]} for row in rows]
    references = [{**row, "parameters": sizes.get(str(row.get("of")), row["parameters"])} for row in references]
    references = [_normalised(row, job.norm) for row in references]
    first = [row for row in references if job.table and row["slug"] == "random"]
    return [*first, *trained, *(row for row in references if row not in first)]


def _normalised(row: dict[str, Any], norm: str) -> dict[str, Any]:
    """A row that was made from others, with what ``--norm`` has to say of it."""
    said = NORMS[norm]
    if not row.get("transductive") or said in row["note"]:
        return row
    return {**row, "note": "; ".join(part for part in (row["note"], said) if part)}


# Trained heads for the leak audit (``--audit-heads``): the run's job again under each way of making folds.
#
# Costs a whole training per head, protocol, fold and seed (``session+scenario`` has 25 folds). Each protocol has a run directory of
# its own below ``audit/``, so a killed audit goes on like any run.
def audited(prepared: Prepared) -> FuseJob:
    """The job with the seeds of those commands that asked for an audit with heads."""
    first = FuseJob.model_validate(prepared.start["job"])
    seeds = [seed for other in (*prepared.earlier, first) if other.audit_heads for seed in other.seeds]
    return prepared.job.model_copy(update={"seeds": tuple(dict.fromkeys(seeds))})


def audited_job(job: FuseJob, protocol: str) -> FuseJob:
    """The job of one protocol: the heads to audit, everything else as in the run, the protocol's own development part."""
    changes: dict[str, Any] = {
        "fusion": job.audit_heads,
        "table": None,
        "classifier": (),
        "audit_heads": (),
        "ensemble": (),
        "lost_streams": False,
        "stack": "none",
        "protocol": protocol,
        "dev": "next",
        "folds": None,
        "allow_overlap": (),
        "part": None,
        "out": job.out / "audit" / protocol,
    }
    return FuseJob.model_validate({**job.model_dump(), **changes})


def heads_under(job: FuseJob, listener: Listener) -> Heads:
    """Test predictions of ``job.audit_heads`` under every protocol of the audit that the corpus can serve.

    Returns:
        Protocol to (row information, predictions), as ``audit_table`` takes them. Protocols that the corpus or the job cannot
        follow (a class is missing, dialogues are cut) are left out, and the listener receives their names.
    """
    heads: dict[str, list[tuple[dict[str, Any], pd.DataFrame]]] = {}
    for protocol in PROTOCOLS:
        listener.step(f"leak audit: heads under {protocol}")
        try:
            prepared, _ = trained(audited_job(job, protocol), listener)
        except (SerError, *REASONS) as error:
            listener.step(f"heads under {protocol} are left out: {str(error).splitlines()[0]}")
            continue
        out = prepared.job.out
        for row in prepared.rows:
            frames = [
                pd.read_parquet(out / t.folder / "test.parquet") for t in prepared.tasks if t.row.slug == row.slug
            ]
            heads.setdefault(protocol, []).append(
                ({"slug": row.slug, "name": row.name, "kind": "head"}, pd.concat(frames, ignore_index=True))
            )
    return heads
