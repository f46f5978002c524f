"""Reads everything once more and says what is not as it was written.

Records carry their own checksum, data files are compared with size and xxh3-128 of the commit, rows with the crc32c that was
taken of them in memory, the containers' own offsets and ids with the commit's, attachments with the hashes noted before.
Nothing is changed: see `ser_cache.maintenance.repair`.
"""

import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from ser_cache.catalog import ATTACHMENT_NAME, FORMAT, Cache, check_format, read_spec
from ser_cache.containers.base import map_frames, open_data, read_special
from ser_cache.errors import CacheError
from ser_cache.format.commit import Commit, read_commit
from ser_cache.format.durable import replace_file
from ser_cache.format.layout import ADDRESS, COMMIT_NAME, GENERATION_NAME, names, strangers
from ser_cache.format.ledger import Key, Ledger, uncollected
from ser_cache.format.log import COPY_NAME, PLACE, WITNESSES, Log, birth, born, lost, withdrawal_log, witnesses
from ser_cache.format.plan import Plan, plan_log
from ser_cache.format.seal import hash_file, hash_rows, seal
from ser_cache.items import offsets_of

Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was written.

    Attributes:
        kind: ``format``, ``entry``, ``lost`` (a whole entry), ``plan``, ``commit``, ``data``, ``withdrawal``, ``attachment``,
            ``stray`` (a file in the place of a folder) or ``link``.
        path: what is bad.
        problem: one line.
        entry: directory of the entry, None for what belongs to the whole cache.
        key: (generation, shard) for ``commit`` and ``data``; (generation, 0) for ``plan``.
        ids: utterances that are lost with it, as far as known.
        recipe: command that restores them, as far as known.
    """

    kind: str
    path: Path
    problem: str
    entry: Path | None = None
    key: Key = (0, 0)
    ids: tuple[str, ...] = ()
    recipe: str | None = None


@dataclass
class Report:
    """What `verify` found.

    Attributes:
        findings: everything bad; empty for a good cache.
        unfinished: address -> ids that are planned and not committed yet.
        lacking: copies and witnesses that are missing, of records that are good.
        recipes: address -> command of the latest plan that has one.
        shards, bytes: what was read and compared.
    """

    findings: list[Finding] = field(default_factory=list)
    unfinished: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lacking: list[Path] = field(default_factory=list)
    recipes: dict[str, str | None] = field(default_factory=dict)
    shards: int = 0
    bytes: int = 0


def verify(root: Path, progress: Progress | None = None, *, data: bool = True) -> Report:
    """Checks a whole cache, or without ``data`` only its records; raises NotACache if there is none."""
    report, witnessed = Report(), False
    try:
        witnessed = check_format(root)
    except CacheError as error:
        if not root.is_dir() or "entries" not in names(root):
            raise
        report.findings.append(Finding("format", root / "format.json", _line(error)))
    links = [Finding("link", path, problem) for path, problem in strangers(root)]
    if links:  # what lies behind a link does not belong to this cache: nothing more is read
        report.findings = links
        return report
    strays = [Finding("stray", path, "it is not a folder") for path in misplaced(root)]
    report.findings += strays
    if strays:  # a file in the place of a folder: what should be in it cannot be listed
        return report
    cache = Cache(root)
    log = withdrawal_log(root)
    faults = [
        Finding("withdrawal", path, _line(error), key=(number, 0))
        for number in range(1, log.last_number() + 1)
        for path, error in log.inspect(number)[1]
    ]
    report.findings += faults
    withdrawn = frozenset() if faults else cache.withdrawn()
    report.findings += [
        Finding("lost", root / "entries" / each, "the whole entry is gone, and its witness is there")
        for each in lost(root)
    ]
    report.lacking = lacking(root, witnessed)
    jobs: list[tuple[Path, Commit]] = []
    for path in cache.entry_paths():
        findings, commits = _records(path, report, withdrawn)
        report.findings += findings
        jobs += [(path, commit) for commit in commits if commit.path is not None and data]
    total = sum(commit.size for _, commit in jobs)
    for path, commit in jobs:
        problem = check_data(path, commit)
        report.shards += 1
        report.bytes += commit.size
        if problem:
            report.findings.append(
                Finding("data", path / "data" / str(commit.path), problem, path, (commit.generation, commit.shard),
                        tuple(commit.ids), commit.recipe)
            )  # fmt: skip
        if progress:
            progress(report.bytes, total)
    report.findings += _attachments(cache)
    return report


def check_data(entry: Path, commit: Commit) -> str | None:
    """What is wrong with the data of one commit, or None: then every row can be read, and is what was in memory."""
    try:
        shard = open_data(entry, commit)
        frames, _ = map_frames(shard, commit)
        place = shard.located()
        width = commit.features * commit.itemsize
        crcs: list[int] | None = None
        for name, (_, digest) in commit.files.items():
            path = entry / "data" / name
            if place is not None and path == place[0]:  # both sums in one pass
                hashed, crcs = hash_rows(path, place[1], (count * width for count in commit.frames))
            else:
                hashed = hash_file(path)
            if hashed != digest:
                inner = name[len(commit.path or "") + 1 :]
                return f"the xxh3-128 of {inner or 'the file'} is not the one that was written"
        edges = offsets_of(np.array(commit.frames, dtype=np.int64))
        if shard.ids() != tuple(commit.ids) or not np.array_equal(shard.offsets(), edges):
            return "its ids or offsets are not those of the commit"
        read_special(shard, commit, entry)
        if crcs is None:
            values = frames[0 : commit.total]
            crcs = [google_crc32c.value(values[start:stop]) for start, stop in itertools.pairwise(edges)]
        if crcs != commit.crc32c:
            name = next(name for name, *both in zip(commit.ids, crcs, commit.crc32c, strict=True) if both[0] != both[1])
            return f"the checksum of utterance {name!r} does not fit its bytes"
    except CacheError as error:
        return _line(error)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        return f"it cannot be read ({error})"
    return None


@uncollected()
def _records(path: Path, report: Report, withdrawn: frozenset[str]) -> tuple[list[Finding], list[Commit]]:
    """Checks the JSON records of one entry; returns findings and the commits that are good."""
    findings: list[Finding] = []
    plans: dict[int, Plan] = {}
    generations = names(path, "commits", like=GENERATION_NAME)
    used = [int(name) for name in generations if names(path, "commits", name, like=COMMIT_NAME)]
    log = plan_log(path)
    for number in range(1, max([log.last_number(), *used]) + 1):
        made, faults = log.inspect(number)
        findings += [Finding("plan", bad, _line(error), path, (number, 0)) for bad, error in faults]
        if made is not None:
            plans[number] = made
    fingerprint = None
    try:
        fingerprint = read_spec(path).fingerprint
    except (CacheError, OSError) as error:
        if plans or used or findings or "entry.json" in names(path):
            findings.append(Finding("entry", path / "entry.json", _line(error), path))
        if plans:
            fingerprint = plans[max(plans)].fingerprint
    report.recipes[path.name] = next(
        (plans[each].recipe for each in sorted(plans, reverse=True) if plans[each].recipe), None
    )
    ledger = Ledger(path, fingerprint or "", plans=plans)
    commits: dict[Key, Commit] = {}
    hidden: dict[Key, Commit] = {}
    for key, revision, file in commit_files(path):
        plan = plans.get(key[0])
        # of a replaced spec: hidden, and removed by gc, but shown again if the replacement is taken back before
        group = commits if plan is None or plan.fingerprint == fingerprint else hidden
        try:
            commit = read_commit(file, *key, revision)
            group[key] = ledger.checked(commit, str(file)) if plan else commit
        except (CacheError, OSError) as error:
            group.pop(key, None)
            ids = tuple(plan.shards[key[1]].ids) if plan and key[1] < len(plan.shards) else ()
            findings.append(Finding("commit", file, _line(error), path, key, ids, plan.recipe if plan else None))
    ledger.commits = commits
    wanted = ledger.wanted(withdrawn)
    rows, failures = ledger.rows(wanted), ledger.failures(wanted)
    if left := sorted(name for name in wanted if name not in rows and name not in failures):
        report.unfinished[path.name] = tuple(left)
    return findings, [group[key] for group in (commits, hidden) for key in sorted(group)]


def commit_files(path: Path) -> Iterator[tuple[Key, int, Path]]:
    """((generation, shard), revision, file) of every commit record of an entry, in order."""
    for name in names(path, "commits", like=GENERATION_NAME):
        for file in names(path, "commits", name, like=COMMIT_NAME):
            yield (int(name), int(file[:8])), int(file[9:13]), path / "commits" / name / file


def _attachments(cache: Cache) -> list[Finding]:
    findings = []
    for name in sorted({*names(cache.path, "checksums", like=ATTACHMENT_NAME), *cache.attachments()}):
        try:
            cache.attachment(name)
        except (CacheError, OSError) as error:
            findings.append(Finding("attachment", cache.path / "attachments" / name, _line(error)))
    return findings


def _line(error: Exception) -> str:
    problem = getattr(error, "problem", None)
    if isinstance(problem, str):
        return problem
    if isinstance(error, FileNotFoundError):
        return "it is missing"
    return str(error).splitlines()[0]


def as_json(report: Report) -> str:
    """The report for programs."""
    return json.dumps(
        {
            "findings": [
                {
                    "kind": each.kind,
                    "path": str(each.path),
                    "problem": each.problem,
                    "ids": each.ids,
                    "recipe": each.recipe,
                }
                for each in report.findings
            ],
            "unfinished": report.unfinished,
            "lacking": [str(path) for path in report.lacking],
            "shards": report.shards,
            "bytes": report.bytes,
        },
        indent=1,
    )


def logs(root: Path) -> list[Log[Any]]:
    """Every log of a cache."""
    entries = names(root, "entries", like=ADDRESS)
    return [withdrawal_log(root), *(plan_log(root / "entries" / name) for name in entries)]


def misplaced(root: Path) -> list[Path]:
    """Whatever has the name of a folder of the layout and is none."""

    def folders(anchor: Path, *parts: str) -> Iterator[tuple[Path, list[str]]]:
        for name in parts:
            path = anchor / name
            if path.is_dir():
                yield path, names(path)
            elif os.path.lexists(path):
                strays.append(path)

    strays: list[Path] = []
    for path, inner in folders(root, "attachments", "checksums", "entries", "withdrawn", WITNESSES):
        kept = {
            "checksums": inner,
            "entries": list(filter(ADDRESS.fullmatch, inner)),
            WITNESSES: ["withdrawn", "entries"],
        }
        for entry, _ in folders(path, *kept.get(path.name, [])):
            if path.name != "entries":
                continue
            for part, generations in folders(entry, "plans", "commits", "data", "quarantine", WITNESSES):
                below = {"commits": list(filter(GENERATION_NAME.fullmatch, generations)), WITNESSES: ["plans"]}
                list(folders(part, *below.get(part.name, [])))
    return strays


def _begun(root: Path) -> list[str]:
    """Addresses of the entries that have a record."""
    return [name for name in names(root, "entries", like=ADDRESS) if "entry.json" in names(root, "entries", name)]


def lacking(root: Path, witnessed: bool) -> list[Path]:
    """Copies and witnesses that should be there: a writer was killed before it made them, or they were lost.

    Args:
        root: the cache.
        witnessed: whether it promises witnesses (`check_format`); else only withdrawals have copies.
    """
    absent = [path for log in logs(root) for _, path in log.lacking()]
    if not witnessed:
        return [path for path in absent if COPY_NAME.fullmatch(path.name) and path.parent.name == "withdrawn"]
    there = witnesses(root)
    return absent + [root.joinpath(*PLACE, name) for each in _begun(root) if (name := birth(there, each)) is not None]


def complete(root: Path) -> None:
    """Makes all of them, for a cache of the first release as well, which promises them from then on.

    Raises:
        Damaged: a record is bad; it is not multiplied.
    """
    for log in logs(root):
        log.length()
        log.complete()
    for address in _begun(root):
        born(root, address)
    if not check_format(root):
        replace_file(root / "format.json", seal(FORMAT))
