"""What every record should have beside it: copies and witnesses, and how those that are missing are made."""

from pathlib import Path

from ser_cache.catalog import FORMAT, check_format
from ser_cache.census import PLACE, birth, born, witnesses
from ser_cache.durable import replace_file
from ser_cache.layout import ADDRESS
from ser_cache.log import COPY_NAME, Log
from ser_cache.plan import plan_log
from ser_cache.seal import seal
from ser_cache.tree import names
from ser_cache.withdrawals import withdrawal_log


def logs(root: Path) -> list[Log]:
    """Every log of a cache."""
    entries = names(root, "entries", like=ADDRESS)
    return [withdrawal_log(root), *(plan_log(root / "entries" / name) for name in entries)]


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
