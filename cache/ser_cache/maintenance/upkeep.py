"""What every record should have beside it: copies and witnesses, and how those that are missing are made."""

import os
from collections.abc import Iterator
from pathlib import Path

from ser_cache.catalog import FORMAT, check_format
from ser_cache.format.census import PLACE, birth, born, witnesses
from ser_cache.format.durable import replace_file
from ser_cache.format.layout import ADDRESS, GENERATION_NAME
from ser_cache.format.log import COPY_NAME, WITNESSES, Log
from ser_cache.format.plan import plan_log
from ser_cache.format.seal import seal
from ser_cache.format.tree import names
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
