"""Takes what is bad out of the way, so that the next run of the same command computes it again.

Nothing is thrown away: bad records and data move to ``quarantine/``. Records that can be made again from others are.
Every step is one rename or one atomic replacement, and a repair that was killed is simply repeated. Do not repair while
a writer is at work.
"""

import contextlib
import uuid
from pathlib import Path

from ser_cache.catalog import FORMAT
from ser_cache.errors import CacheError
from ser_cache.format.commit import Commit, read_commit
from ser_cache.format.durable import failpoint, replace_file, sync_directory, writing
from ser_cache.format.layout import check, folder, move, names, remove
from ser_cache.format.log import WITNESSES, buried, withdrawal_log
from ser_cache.format.plan import Plan, PlannedShard, plan_log
from ser_cache.format.seal import SpecRecord, seal
from ser_cache.items import Item
from ser_cache.maintenance.verify import Finding, Report, commit_files, complete


def repair(root: Path, report: Report) -> list[str]:
    """Repairs every finding of a report; returns a line for each that could not be.

    Where the report names a link, nothing is repaired: what lies behind it may belong to somebody else.
    """
    if links := [each for each in report.findings if each.kind == "link"]:
        return [f"{each.path}: {each.problem}; remove it by hand, then verify again." for each in links]
    check(root)
    order = ("stray", "format", "withdrawal", "commit", "data", "plan", "entry", "lost", "attachment")
    problems = []
    for finding in sorted(report.findings, key=lambda each: order.index(each.kind)):
        with writing(finding.path):
            problem = _repair(root, finding)
        if problem:
            problems.append(problem)
    if not problems:
        with writing(root):
            complete(root)
    return problems


def _repair(root: Path, finding: Finding) -> str | None:
    if finding.kind == "format":
        record = dict(FORMAT) if WITNESSES in names(root) else {**FORMAT, "witnesses": False}
        replace_file(finding.path, seal(record))
    elif finding.kind == "withdrawal":
        return _restore_withdrawal(root, finding.key[0])
    elif finding.kind in ("commit", "data") and finding.entry is not None:
        _quarantine_shard(finding.entry, finding)
    elif finding.kind == "plan" and finding.entry is not None:
        return _restore_plan(finding.entry, finding.key[0])
    elif finding.kind == "entry" and finding.entry is not None:
        return _restore_entry(finding.entry)
    elif finding.kind == "stray":
        move(finding.path, finding.path.parent, f".bad-{uuid.uuid4().hex[:8]}-{finding.path.name}")
    elif finding.kind == "lost":
        buried(root, finding.path.name)  # nothing is left of it; from now on it is not missed
    elif finding.kind == "attachment":
        _drop_attachment(root, finding.path)
    return None


def quarantine(entry: Path, path: Path) -> None:
    """Moves a file or folder of an entry aside, durably; nothing happens if it is gone."""
    into = folder(entry, "quarantine")
    failpoint("quarantine.before")
    move(path, into, f"{uuid.uuid4().hex[:8]}-{path.name}")
    failpoint("quarantine.after")


def _quarantine_shard(entry: Path, finding: Finding) -> None:
    data = []
    for key, revision, file in commit_files(entry):
        if key != finding.key:
            continue
        with contextlib.suppress(CacheError, OSError):  # else its data stay behind unreferenced; gc removes them
            data.append(read_commit(file, *key, revision).path)
        quarantine(entry, file)
    for name in data:  # after the records: data without a record are invisible
        if name is not None:
            quarantine(entry, entry / "data" / name)


def _restore_plan(entry: Path, generation: int) -> str | None:
    """A plan from its copy or its witness; where none of them is left, one that withholds the entry.

    A plan that cannot be read may have said that another input's row is wanted than the plans before it. So what takes its
    place says of every known utterance that a row is wanted which does not exist. The next run reads the corpus, compares
    the input hashes and wants the right rows again; nothing that was committed is computed again.
    """
    log = plan_log(entry)
    if log.restore(generation):
        return None
    commits: dict[int, Commit] = {}
    for key, revision, file in commit_files(entry):
        if key[0] == generation:
            try:
                commits[key[1]] = read_commit(file, *key, revision)
            except (CacheError, OSError):
                quarantine(entry, file)
    spec, recipe, fingerprint = _known_spec(entry)
    if commits:
        fingerprint = next(iter(commits.values())).fingerprint
    if spec is None:
        return _no_spec(entry)
    ids = {name for plan in _good_plans(entry) for name, _ in plan.mentions()}
    shards = []
    for number in range(max(commits, default=-1) + 1):
        commit = commits.get(number)
        hashes = {} if commit is None else dict(zip(commit.ids, commit.input_hashes, strict=True))
        if commit is not None:
            hashes |= {name: failure.input_hash for name, failure in commit.failures.items()}
        ids |= set(hashes)
        shards.append(PlannedShard.of(Item(name, hashes[name]) for name in sorted(hashes)))
    withheld = dict.fromkeys(sorted(ids), f"withheld:{uuid.uuid4().hex}")
    plan = Plan(
        generation=generation, fingerprint=fingerprint, spec=spec, recipe=recipe, shards=shards, resolves=withheld
    )
    log.replace(generation, plan.sealed())
    return None


def _good_plans(entry: Path) -> list[Plan]:
    log, plans = plan_log(entry), []
    for number in range(1, log.last_number() + 1):
        with contextlib.suppress(CacheError, OSError):
            plans.append(log.read(log.record(number), number))
    return plans


def _no_spec(entry: Path) -> str:
    return f"{entry}: neither entry.json nor any plan can be read; remove it (ser cache rm --entry), then run the command that made it again."


def _known_spec(entry: Path) -> tuple[SpecRecord | None, str | None, str]:
    """(spec, recipe, fingerprint) of an entry, from its record or else its latest good plan."""
    from ser_cache.catalog import read_spec

    plans = _good_plans(entry)
    recipe = next((plan.recipe for plan in reversed(plans) if plan.recipe), None)
    with contextlib.suppress(CacheError, OSError):
        spec = read_spec(entry)
        return SpecRecord(**spec.as_dict()), recipe, spec.fingerprint
    if plans:
        return plans[-1].spec, recipe, plans[-1].fingerprint
    return None, recipe, ""


def _restore_entry(entry: Path) -> str | None:
    spec, _, fingerprint = _known_spec(entry)
    if spec is None and (plan_log(entry).last_number() or any(commit_files(entry))):
        return _no_spec(entry)
    quarantine(entry, entry / "entry.json")
    if spec is not None:  # else killed before anything was planned: the next run makes the record again
        replace_file(
            entry / "entry.json", seal({"kind": "entry", "fingerprint": fingerprint, "spec": spec.model_dump()})
        )
    return None


def _restore_withdrawal(root: Path, number: int) -> str | None:
    log = withdrawal_log(root)
    if log.restore(number):
        return None
    return (
        f"{log.record(number)}: its copy and its witness are damaged too, or they contradict each other. "
        "Find out which utterances it withdrew, delete the three files, and withdraw the utterances again."
    )


def _drop_attachment(root: Path, path: Path) -> None:
    """Moves a bad attachment aside and forgets its notes; the next run attaches it again."""
    move(path, path.parent, f".bad-{uuid.uuid4().hex[:8]}-{path.name}")
    remove(root / "checksums" / path.name)
    sync_directory(folder(root, "checksums"))
