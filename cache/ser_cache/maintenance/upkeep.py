"""What every record should have beside it, how what is missing is made, and where the bytes of a cache are."""

import os
from collections.abc import Iterator
from pathlib import Path

from ser_cache.catalog import FORMAT, Cache, check_format
from ser_cache.format.durable import replace_file
from ser_cache.format.layout import ADDRESS, GENERATION_NAME
from ser_cache.format.ledger import Ledger
from ser_cache.format.log import COPY_NAME, PLACE, WITNESSES, Log, birth, born, witnesses
from ser_cache.format.plan import plan_log
from ser_cache.format.seal import seal
from ser_cache.format.tree import check, names, size
from ser_cache.format.withdrawals import withdrawal_log


def logs(root: Path) -> list[Log]:
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
                found.append(path)

    found: list[Path] = []
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
    return found


def _begun(root: Path) -> list[str]:
    """Addresses of the entries that have a record."""
    return [name for name in names(root, "entries", like=ADDRESS) if "entry.json" in names(root, "entries", name)]


def lacking(root: Path, witnessed: bool) -> list[Path]:
    """Copies and witnesses that should be there: a writer was killed before it made them, or they were lost.

    Args:
        root: the cache.
        witnessed: whether it promises witnesses (`check_format`); else only withdrawals have copies.
    """
    found = [path for log in logs(root) for _, path in log.lacking()]
    if not witnessed:
        return [path for path in found if COPY_NAME.fullmatch(path.name) and path.parent.name == "withdrawn"]
    there = witnesses(root)
    return found + [root.joinpath(*PLACE, name) for each in _begun(root) if (name := birth(there, each)) is not None]


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


KINDS = ("live", "dead", "container", "orphans", "quarantine", "records")


def usage(cache: Cache) -> list[dict[str, object]]:
    """Bytes of each entry, by kind.

    ``live``: frames that readers see. ``dead``: frames that were superseded or withdrawn. ``container``: what Zarr or HDF5
    needs beside the frames (ids, offsets, masks, metadata, padding). ``orphans``: data without a commit. ``quarantine``:
    what a repair moved aside. ``records``: plans, commits and the like.
    """
    check(cache.path)
    found: list[dict[str, object]] = []
    withdrawn = cache.withdrawn()
    for info in cache.entries():
        ledger = Ledger(info.path, info.fingerprint)
        ledger.refresh()
        wanted = {name: value for name, value in ledger.wanted().items() if name not in withdrawn}
        width = info.spec.features * info.spec.itemsize
        live = sum(ledger.commits[key].frames[row] * width for key, row in ledger.rows(wanted).values())
        frames = sum(commit.total * width for commit in ledger.commits.values())
        held = sum(commit.size for commit in ledger.commits.values())
        known = {commit.path for commit in ledger.commits.values()}
        orphans = sum(size(info.path / "data" / name) for name in names(info.path, "data") if name not in known)
        aside = size(info.path / "quarantine")
        parts = (live, frames - live, held - frames, orphans, aside, size(info.path) - held - orphans - aside)
        found.append({"entry": info.address, **dict(zip(KINDS, parts, strict=True))})
    return found
