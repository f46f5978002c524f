"""What a run directory remembers: every command that was run into it, and the rows and seeds that these have finished.

No pandas here: before the command loads it, workers begin to load torch (``runs.ahead``).

``run.json`` lists the commands under ``asked``, the first one first, and under ``declared`` what the first one declared: its
named head, and the rows of each primary comparison as soon as they are asked for. A row and seed stays in the table as long as
all of its folds are finished on the same ground: utterances, inputs, labels and folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_base.files import locked, sweep, write_json
from ser_fusion.errors import RecordMissing, RunExists, RunUnreadable
from ser_fusion.evaluation.records import Started, read_record
from ser_fusion.runs.job import GROWS, FuseJob, Row

if TYPE_CHECKING:
    from ser_fusion.runs.task import Task


def claim(out: Path, start: Mapping[str, Any]) -> None:
    """Makes the run directory ours and notes what is asked, or refuses one that holds something else.

    Args:
        out: Run directory; made if it is not there.
        start: ``run.json`` as it stands before training.

    Raises:
        RunExists: It holds another run, or other files.
        RunUnreadable: Its ``run.json`` cannot be used.
    """
    if out.exists() and not out.is_dir():
        raise RunExists(str(out), ("it is a file",))
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        old = _read(out)
        if old is not None:
            _require_same(out, old, start)
        sweep(out, deep=True)
        write_json(out / "run.json", _merged(out, old, start))


def record(out: Path, finished: Mapping[str, Any]) -> None:
    """Writes the ``run.json`` of a judged run. What others have asked meanwhile stays noted."""
    with locked(out):
        old = _read(out) or {}
        write_json(out / "run.json", {**finished, "asked": old.get("asked", []), "declared": old.get("declared")})


def asked_jobs(out: Path, old: Mapping[str, Any], job: Mapping[str, Any]) -> list[FuseJob]:
    """The jobs that were run into a directory, as they would be asked today, the first one first.

    Args:
        out: Run directory.
        old: Its ``run.json``.
        job: A job as JSON holds it, with the options that all of them share.

    Raises:
        RunUnreadable: One of the jobs is not valid.
    """
    asked = old.get("asked") or [old]
    try:
        return [FuseJob.model_validate({**job, **_grown(entry["job"])}) for entry in asked]
    except (TypeError, ValueError) as error:
        raise RunUnreadable(
            str(out), "the commands that its run.json lists are not of this version of ser-fuse"
        ) from error


@dataclass(frozen=True, slots=True)
class Kept:
    """What a run directory holds beside the rows and seeds that are asked now.

    Attributes:
        rows: All rows, those asked earlier first.
        tasks: Their trainings: all that are asked now, and the finished ones of earlier.
        jobs: The earlier jobs.
        notes: What is left out, and why.
    """

    rows: tuple[Row, ...]
    tasks: "list[Task]"
    jobs: list[FuseJob]
    notes: tuple[str, ...]


def kept(
    out: Path, rows: Sequence[Row], tasks: "Sequence[Task]", earlier: "Sequence[tuple[FuseJob, list[Task]]]"
) -> Kept:
    """Which earlier rows and seeds stay in the table.

    Args:
        out: Run directory.
        rows: Rows that are asked now.
        tasks: Their trainings, all of them finished.
        earlier: Jobs that were asked before, with all of their trainings.
    """
    chosen = {task.folder: task for task in tasks}
    groups: dict[tuple[str, int], list[Task]] = {}
    for _, planned in earlier:
        for task in planned:
            group = groups.setdefault((task.row.slug, task.seed), [])
            if task.folder not in chosen and all(task.folder != other.folder for other in group):
                group.append(task)
    left: list[str] = []
    complete: list[Task] = []
    for (slug, seed), group in groups.items():
        done = [task for task in group if task.is_done(out) or task.is_finished(out)]
        if len(done) == len(group):
            complete += group
        else:
            left.append(f"{slug} with seed {seed} ({len(done)} of {len(group)} trainings are finished)")
    everything = [*complete, *tasks]
    slugs = {task.row.slug for task in everything}
    order = {row.slug: row for _, planned in earlier for row in (task.row for task in planned)}
    whole = order | {row.slug: row for row in rows}
    notes = (f"left out of the table: {'; '.join(left)}. Ask for them again to finish them",) if left else ()
    table = tuple(row for slug, row in whole.items() if slug in slugs)
    return Kept(table, everything, [job for job, _ in earlier], notes)


def grown(job: FuseJob, before: Kept) -> FuseJob:
    """The job with the seeds and the derived rows of all that is kept."""
    jobs = [*before.jobs, job]
    seeds = sorted({task.seed for task in before.tasks} | set(job.seeds))
    return job.model_copy(
        update={
            "seeds": tuple(seeds),
            "ensemble": tuple(dict.fromkeys(kind for each in jobs for kind in each.ensemble)),
            "lost_streams": any(each.lost_streams for each in jobs),
            "stack": "probes" if any(each.stack == "probes" for each in jobs) else "none",
            "audit_heads": tuple(dict.fromkeys(name for each in jobs for name in each.audit_heads)),
        }
    )


def _grown(job: Mapping[str, Any]) -> dict[str, Any]:
    return {name: job[name] for name in GROWS if name in job}


def _read(out: Path) -> dict[str, Any] | None:
    try:
        return read_record(out / "run.json", Started)
    except RecordMissing:
        if any(not path.name.startswith(".") for path in out.iterdir()):
            raise RunExists(str(out), ("it has other files and no run.json",)) from None
        return None


def _require_same(out: Path, old: Mapping[str, Any], start: Mapping[str, Any]) -> None:
    ours = FuseJob.model_validate(start["job"]).shared()
    try:
        theirs = FuseJob.model_validate(old["job"]).shared()
    except (KeyError, TypeError, ValueError) as error:
        raise RunUnreadable(str(out), "its run.json is of another version of ser-fuse") from error
    differences = [f"{key}: {theirs[key]!r} there, {ours[key]!r} now" for key in ours if theirs[key] != ours[key]]
    differences += [f"{key}: changed since" for key in ("data_fingerprint",) if old.get(key) != start[key]]
    if differences:
        raise RunExists(str(out), tuple(differences))


def _merged(out: Path, old: Mapping[str, Any] | None, start: Mapping[str, Any]) -> dict[str, Any]:
    """``run.json`` with what was asked before, what was declared first, and the rows that have results already."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"time": now, "command": start["command"], "job": _grown(start["job"])}
    if old is None:
        return {**start, "asked": [entry], "declared": _declared({}, start["rows"], entry)}
    before = {"time": None, "command": old.get("command") or "", "job": _grown(old["job"])}
    asked = old.get("asked") or [before]
    if all(earlier["job"] != entry["job"] for earlier in asked):
        asked = [*asked, entry]
    new = {row["slug"] for row in start["rows"]}
    rows = [*(row for row in old.get("rows", []) if row["slug"] not in new), *start["rows"]]
    declared: Mapping[str, Any] = {}
    if _trained(out):
        declared = old.get("declared") or _declared({}, old.get("rows", []), before)
    return {**start, "rows": rows, "asked": asked, "declared": _declared(declared, rows, entry)}


def _declared(first: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], entry: Mapping[str, Any]) -> dict[str, Any]:
    """The first declaration, which later commands complete and never change.

    Args:
        first: As it stands in ``run.json``; empty before anything is trained.
        rows: All rows that were asked for, in the table's order.
        entry: What is asked now.
    """
    from ser_fusion.evaluation.comparison import DEFAULT_NAMED, primary_pairs

    named = first.get("named_head", entry["job"].get("named_head", DEFAULT_NAMED))
    heads = {row["slug"]: dict(row) for row in rows if row.get("kind") == "head"}

    def kind(a: str, b: str) -> tuple[Any, Any]:
        return heads.get(a, {}).get("fusion"), heads.get(b, {}).get("fusion")

    primary = list(first.get("primary", []))
    fixed = {kind(pair["a"], pair["b"]) for pair in primary}
    for a, b in primary_pairs(list(heads.values()), named):
        if kind(a, b) not in fixed:
            primary.append({"a": a, "b": b, "time": entry["time"]})
    return {"time": first.get("time", entry["time"]), "named_head": named, "primary": primary}


def _trained(out: Path) -> bool:
    """Whether the directory holds any result, after which nothing can be declared first."""
    from ser_fusion.evaluation.run_directory import job_folders

    return any((folder / "done.json").is_file() for folder in job_folders(out))
