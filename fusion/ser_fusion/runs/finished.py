"""A judged run that nothing has changed since: its results are shown again without training or judging.

``finished.json`` says what the results follow from and how every file of the run directory looked. Both must still hold.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import xxhash
from pydantic import Field

from ser_base.files import write_json
from ser_cache import open_cache
from ser_fusion.errors import RecordBroken, RecordMissing
from ser_fusion.evaluation.records import Judged, Record, read_record
from ser_fusion.runs.environment import makers
from ser_fusion.runs.job import MACHINERY
from ser_fusion.study.open import MANIFEST

if TYPE_CHECKING:
    from ser_fusion.runs.job import FuseJob
    from ser_fusion.study.open import Study

NOTE = "finished.json"
_WEIGHTS = (".safetensors",)  # judging does not read them: known by size and time, as they may be many gigabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        out: Run directory.
        remaining: Jobs that other parts (``--part i/N``) still have to do; 0 means judged.
        failed: Utterances left out because the extraction failed on them.
        metrics: ``metrics.json``; empty if jobs remain.
        report: ``report.html``; None if jobs remain.
        left_out: What earlier commands began in the directory and did not finish, in sentences.
    """

    out: Path
    remaining: int
    failed: int
    metrics: Mapping[str, Any]
    report: Path | None
    left_out: tuple[str, ...] = ()


class Finished(Record):
    """``finished.json``: the mark of what was asked on what, and size and content of each file."""

    mark: str
    trainings: Annotated[int, Field(ge=0)]
    left_out: list[str]
    files: dict[str, Annotated[list[int | str], Field(min_length=2, max_length=2)]]


def mark_of(job: "FuseJob", study: "Study", made_by: object = None) -> str:
    """xxh3-128 of all that a run's results follow from: what is asked, data, code and versions."""
    digest = xxhash.xxh3_128()
    asked = job.model_dump(mode="json", exclude={*MACHINERY} - {"save_attention"})
    facts = [asked, str(study.cache), study.data_fingerprint, study.notes, study.failed, made_by or makers()]
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for entries in study.layers.values():
        for entry in entries:
            digest.update(json.dumps(sorted(entry.input_hashes.items())).encode())
    if job.manifest is None:
        digest.update(open_cache(study.cache).attachment(MANIFEST))
    for path in (job.manifest, job.folds, job.labels, job.extra_text):
        if path is not None and Path(path).is_file():
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def note(job: "FuseJob", study: "Study", trainings: int, outcome: Outcome) -> None:
    """Writes ``finished.json`` into a run directory that has just been judged.

    Args:
        job: What was asked.
        study: On what.
        trainings: How many that was.
        outcome: What it came to.
    """
    files = {str(path.relative_to(job.out)): _look(path) for path in _files(job.out)}
    content = {"mark": mark_of(job, study), "trainings": trainings, "left_out": outcome.left_out, "files": files}
    write_json(job.out / NOTE, content)


def recall(job: "FuseJob", study: "Study", made_by: object = None) -> tuple[Outcome, int] | str:
    """The outcome of a finished run and its number of trainings; else the reason to judge it again, or ``""``.

    Args:
        job: The job that is asked for.
        study: The study of the job.
        made_by: Code and versions that would judge it now; None for those of this process.
    """
    try:
        note = read_record(job.out / NOTE, Finished)
        if note["mark"] != mark_of(job, study, made_by):
            return ""
        for name, look in note["files"].items():
            if Path(name).is_absolute() or ".." in Path(name).parts or _look(job.out / name) != tuple(look):
                return f"{name} is not as it was written"
        metrics = read_record(job.out / "metrics.json", Record if job.task == "vad" else Judged)
    except RecordMissing:
        return ""
    except RecordBroken as error:
        return f"{Path(error.file).name}: {error.problem}"
    report = job.out / ("vad.md" if job.task == "vad" else "report.html")
    results: dict[str, Any] = {"metrics": metrics, "report": report, "left_out": tuple(note["left_out"])}
    return Outcome(out=job.out, remaining=0, failed=study.failed, **results), note["trainings"]


def _files(out: Path) -> Iterator[Path]:
    for path in sorted(out.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(out).parts)
        if path.is_file() and not path.is_symlink() and not hidden and path != out / NOTE:
            yield path


def _look(path: Path) -> tuple[int, str]:
    """Size and content of a file; of weights, size and time; of what is no file, nothing."""
    if path.is_symlink() or not path.is_file():
        return (-1, "")
    stat = path.stat()
    if path.suffix in _WEIGHTS:
        return stat.st_size, str(stat.st_mtime_ns)
    return stat.st_size, xxhash.xxh3_128_hexdigest(path.read_bytes())
