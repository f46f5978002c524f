"""``ser-fuse`` from a job to a judged run directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_base.errors import SerError
from ser_base.files import locked
from ser_fusion.errors import RecordBroken, RecordMissing, RunUnreadable
from ser_fusion.evaluation.records import Started, read_record
from ser_fusion.runs.finished import Outcome, note
from ser_fusion.runs.job import FuseJob, open_job
from ser_fusion.runs.judge import judge
from ser_fusion.runs.listener import Listener
from ser_fusion.runs.memory import asked_jobs
from ser_fusion.runs.prepare import trained
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
