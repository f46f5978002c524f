"""Removes what no reader can see, and says where the bytes of a cache are.

No reader sees data without a commit, superseded and replaced rows, temporary files, and the quarantine.

A commit record goes first and its data after, so a kill in between leaves only data without a record. Things without a
record may belong to a writer at work, therefore only those older than ``older_hours`` are taken.
"""

import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from ser_cache.catalog import Cache, read_spec
from ser_cache.format.commit import read_commit
from ser_cache.format.durable import writing
from ser_cache.format.layout import DATA_NAME, REMOVED_NAME, TEMPORARY_NAME, check, files, names, newest, remove, size
from ser_cache.format.ledger import Key, Ledger
from ser_cache.format.protocol import drop_commit, remove_data
from ser_cache.items import offsets_of
from ser_cache.maintenance.remove import rewrite_withdrawn
from ser_cache.maintenance.verify import commit_files, complete


@dataclass
class Swept:
    """What was (or, in a dry run, would be) removed.

    Attributes:
        shards: commits without a live row.
        orphans: data without a commit.
        temporary: unfinished records.
        quarantined: things that a repair had moved aside.
        bytes: size of all of them.
    """

    shards: int = 0
    orphans: int = 0
    temporary: int = 0
    quarantined: int = 0
    bytes: int = 0


def sweep(cache: Cache, older_hours: float = 24.0, dry_run: bool = False) -> Swept:
    """Sweeps the whole cache.

    Raises:
        Damaged: a record is bad; verify first.
        Unsafe: there is a link in the cache; nothing was removed.
    """
    check(cache.path)
    swept = Swept()
    limit = time.time() - older_hours * 3600
    with writing(cache.path):
        if not dry_run:
            complete(cache.path)
        for info in cache.entries():
            _sweep_entry(cache, info.path, limit, dry_run, swept)
        _sweep_temporary(cache.path, limit, dry_run, swept)
    return swept


def _sweep_entry(cache: Cache, path: Path, limit: float, dry_run: bool, swept: Swept) -> None:
    spec = read_spec(path)
    withdrawn = cache.withdrawn()
    if not dry_run:
        rewrite_withdrawn(path, spec, withdrawn)
    ledger = Ledger.read(path, spec.fingerprint)
    dead = _dead(ledger, withdrawn)
    kept = {commit.path for key, commit in ledger.commits.items() if key not in dead}
    for key, revision, file in list(commit_files(path)):
        current = ledger.commits.get(key)
        if current is not None and key not in dead and current.revision == revision:
            continue
        commit = read_commit(file, *key, revision)
        swept.shards += 1
        swept.bytes += commit.size
        if not dry_run:
            drop_commit(path, file, commit, keep_data=commit.path in kept)
        kept.add(commit.path)  # counted already, not again as an orphan
    for data in (path / "data" / name for name in names(path, "data", like=DATA_NAME)):
        if data.name not in kept and newest(data) <= limit:
            swept.orphans += 1
            swept.bytes += size(data)
            if not dry_run:
                remove_data(data)
    for bad in (path / "quarantine" / name for name in names(path, "quarantine")):
        if newest(bad) <= limit:
            swept.quarantined += 1
            swept.bytes += size(bad)
            if not dry_run:
                remove_data(bad)


def _dead(ledger: Ledger, withdrawn: frozenset[str]) -> set[Key]:
    """Shards in which nothing counts any more: every id is withdrawn, or has its row or its failure elsewhere."""
    wanted = ledger.wanted()
    rows, failures = ledger.rows(wanted), ledger.failures(wanted)
    keys = [key for key, _ in ledger.ordered()]
    first = offsets_of(np.array([len(ledger.commits[key].ids) for key in keys], dtype=np.int64))
    shown = [row for name, row in rows.items() if name not in withdrawn]
    live = {keys[number] for number in np.unique(np.searchsorted(first, shown, side="right") - 1)}
    live |= {key for name, (_, key) in failures.items() if name not in withdrawn and name not in rows}
    dead = set()
    for key, commit in ledger.commits.items():
        names = [*commit.ids, *commit.failures]
        # a row whose successor is not committed yet stays: the correction may be taken back
        done = all(name in withdrawn or name in rows or name in failures for name in names)
        if key not in live and done and names:
            dead.add(key)
    return dead


def _sweep_temporary(root: Path, limit: float, dry_run: bool, swept: Swept) -> None:
    for name in names(root, "entries", like=REMOVED_NAME):
        swept.shards += 1
        swept.bytes += size(root / "entries" / name)
        if not dry_run:
            remove(root / "entries" / name)
    for path in (file for name in names(root) for file in files(root / name)):
        bad = any(part.startswith(".bad-") for part in path.relative_to(root).parts)
        if (bad or TEMPORARY_NAME.fullmatch(path.name)) and newest(path) <= limit:
            swept.temporary += 1
            swept.bytes += size(path)
            if not dry_run:
                remove(path)


KINDS = ("live", "dead", "container", "orphans", "quarantine", "records")


def usage(cache: Cache) -> list[dict[str, object]]:
    """Bytes of each entry, by kind.

    ``live``: frames that readers see. ``dead``: frames that were superseded or withdrawn. ``container``: what Zarr or HDF5
    needs beside the frames (ids, offsets, masks, metadata, padding). ``orphans``: data without a commit. ``quarantine``:
    what a repair moved aside. ``records``: plans, commits and the like.
    """
    check(cache.path)
    table: list[dict[str, object]] = []
    withdrawn = cache.withdrawn()
    for info in cache.entries():
        ledger = Ledger.read(info.path, info.fingerprint)
        wanted = ledger.wanted(withdrawn)
        width = info.spec.features * info.spec.itemsize
        lengths = list(chain.from_iterable(commit.frames for _, commit in ledger.ordered()))
        live = sum(lengths[row] * width for row in ledger.rows(wanted).values())
        frames = sum(commit.total * width for commit in ledger.commits.values())
        held = sum(commit.size for commit in ledger.commits.values())
        committed = {commit.path for commit in ledger.commits.values()}
        orphans = sum(size(info.path / "data" / name) for name in names(info.path, "data") if name not in committed)
        aside = size(info.path / "quarantine")
        parts = (live, frames - live, held - frames, orphans, aside, size(info.path) - held - orphans - aside)
        table.append({"entry": info.address, **dict(zip(KINDS, parts, strict=True))})
    return table
