"""Takes what is bad out of the way, so that the next run of the same command computes it again.

Nothing is thrown away: bad records and data move to ``quarantine/``. Records that can be made again from others are.
Every step is one rename or one atomic replacement, and a repair that was killed is simply repeated. Do not repair while
a writer is at work.
"""

import contextlib
import uuid
from pathlib import Path

from ser_cache.catalog import FORMAT
from ser_cache.commit import Commit, read_commit
from ser_cache.durable import replace_file, sync_directory, writing
from ser_cache.errors import CacheError
from ser_cache.failpoints import failpoint
from ser_cache.items import Item
from ser_cache.layout import PLAN_NAME, plan_path
from ser_cache.plan import Plan, create_plan, read_plan
from ser_cache.seal import seal
from ser_cache.tree import check, folder, move, names, remove
from ser_cache.verify import Finding, Report, commit_files
from ser_cache.withdrawals import read_withdrawal


def repair(root: Path, report: Report) -> list[str]:
    """Repairs every finding of a report; returns a line for each that could not be.

    Where the report names a link, nothing is repaired: what lies behind it may belong to somebody else.
    """
    if links := [each for each in report.findings if each.kind == "link"]:
        return [f"{each.path}: {each.problem}; remove it by hand, then verify again." for each in links]
    check(root)
    order = ("format", "withdrawal", "commit", "data", "plan", "entry", "attachment")
    problems = []
    for finding in sorted(report.findings, key=lambda each: order.index(each.kind)):
        with writing(finding.path):
            problem = _repair(root, finding)
        if problem:
            problems.append(problem)
    return problems


def _repair(root: Path, finding: Finding) -> str | None:
    if finding.kind == "format":
        replace_file(finding.path, seal(FORMAT))
    elif finding.kind == "withdrawal":
        return _restore_withdrawal(finding.path)
    elif finding.kind in ("commit", "data") and finding.entry is not None:
        _quarantine_shard(finding.entry, finding)
    elif finding.kind == "plan" and finding.entry is not None:
        return _rebuild_plan(finding.entry, finding.key[0])
    elif finding.kind == "entry" and finding.entry is not None:
        return _restore_entry(finding.entry)
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


def _rebuild_plan(entry: Path, generation: int) -> str | None:
    """A plan under its old number, from the commits that fulfil it.

    What was not committed is planned again by the next run.
    """
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
    shards = []
    for number in range(max(commits, default=-1) + 1):
        commit = commits.get(number)
        hashes = {} if commit is None else dict(zip(commit.ids, commit.input_hashes, strict=True))
        if commit is not None:
            hashes |= {name: input_hash for name, (_, input_hash) in commit.failures.items()}
        shards.append(tuple(Item(name, hashes[name]) for name in sorted(hashes)))
    path = plan_path(entry, generation)
    quarantine(entry, path)
    folder(entry, "plans")
    create_plan(entry, Plan(generation, fingerprint, spec, recipe, tuple(shards), {}))
    return None


def _no_spec(entry: Path) -> str:
    return f"{entry}: neither entry.json nor any plan can be read; remove it (ser-cache rm --entry) and make it anew."


def _known_spec(entry: Path) -> tuple[dict[str, object] | None, str | None, str]:
    """(spec, recipe, fingerprint) of an entry, from its record or else its latest good plan."""
    from ser_cache.catalog import read_spec

    plans = []
    for name in names(entry, "plans", like=PLAN_NAME):
        with contextlib.suppress(CacheError, OSError):
            plans.append(read_plan(entry / "plans" / name, int(name[:-5])))
    recipe = next((plan.recipe for plan in reversed(plans) if plan.recipe), None)
    with contextlib.suppress(CacheError, OSError):
        spec = read_spec(entry)
        return spec.as_dict(), recipe, spec.fingerprint
    if plans:
        return dict(plans[-1].spec), recipe, plans[-1].fingerprint
    return None, recipe, ""


def _restore_entry(entry: Path) -> str | None:
    spec, _, fingerprint = _known_spec(entry)
    if spec is None and (names(entry, "plans", like=PLAN_NAME) or any(commit_files(entry))):
        return _no_spec(entry)
    quarantine(entry, entry / "entry.json")
    if spec is not None:  # else killed before anything was planned: the next run makes the record again
        replace_file(entry / "entry.json", seal({"kind": "entry", "fingerprint": fingerprint, "spec": spec}))
    return None


def _restore_withdrawal(path: Path) -> str | None:
    twin = path.with_suffix(".copy" if path.suffix == ".json" else ".json")
    try:
        read_withdrawal(twin, int(path.stem))
    except (CacheError, OSError):
        return f"{path}: its copy {twin.name} is bad too; find out whose rows it hid, delete both, and withdraw again."
    path.unlink(missing_ok=True)
    replace_file(path, twin.read_bytes())
    return None


def _drop_attachment(root: Path, path: Path) -> None:
    """Moves a bad attachment aside and forgets its notes; the next run attaches it again."""
    move(path, path.parent, f".bad-{uuid.uuid4().hex[:8]}-{path.name}")
    remove(root / "checksums" / path.name)
    sync_directory(folder(root, "checksums"))
