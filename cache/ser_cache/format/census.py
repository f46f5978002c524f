"""Which entries a cache has: a witness is made with an entry and a tombstone when it is removed, so a lost one is missed.

Both are empty files that are only ever added: ``witnesses/entries/0001-made-ADDRESS`` and ``0001-removed-ADDRESS``, the
number going up each time an entry of this address is made again.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from ser_cache.format.durable import create_exclusive
from ser_cache.format.layout import ADDRESS
from ser_cache.format.log import WITNESSES
from ser_cache.format.tree import folder, names

NAME = re.compile(rf"([0-9]{{4}})-(made|removed)-({ADDRESS.pattern})")
PLACE = (WITNESSES, "entries")


def _numbers(found: Iterable[str], address: str) -> tuple[set[int], set[int]]:
    """Numbers under which an entry was made, and those under which it was removed."""
    parts = [match.groups() for name in found if (match := NAME.fullmatch(name)) and match[3] == address]
    made, removed = ({int(number) for number, event, _ in parts if event == each} for each in ("made", "removed"))
    return made, removed


def living(found: Iterable[str]) -> list[str]:
    """Addresses that were made and not removed since, sorted, from the names of the witnesses."""
    found = list(found)
    known = sorted({match[3] for name in found if (match := NAME.fullmatch(name))})
    return [address for address in known if (both := _numbers(found, address))[0] - both[1]]


def birth(found: Iterable[str], address: str) -> str | None:
    """Name of the witness that an entry lacks, None if it has one."""
    made, removed = _numbers(found, address)
    return None if made - removed else f"{max([*made, *removed], default=0) + 1:04d}-made-{address}"


def witnesses(root: Path) -> list[str]:
    """Names of all of them."""
    return names(root, *PLACE, like=NAME)


def born(root: Path, address: str) -> None:
    """Makes the witness of an entry, durably, if it has none."""
    name = birth(witnesses(root), address)
    if name is not None:
        create_exclusive(folder(root, *PLACE) / name, b"")


def buried(root: Path, address: str) -> None:
    """Makes the tombstone of an entry, durably: from now on it is not missed."""
    made, removed = _numbers(witnesses(root), address)
    for number in sorted(made - removed):
        create_exclusive(folder(root, *PLACE) / f"{number:04d}-removed-{address}", b"")


def lost(root: Path) -> list[str]:
    """Addresses of entries that should be there and are not."""
    missing = set(living(witnesses(root))) - set(names(root, "entries", like=ADDRESS))
    # asked again, for an entry may be removed at this moment: its tombstone comes first
    return [address for address in living(witnesses(root)) if address in missing] if missing else []
