"""Which utterances a speaker took back: a log of immutable records, ``withdrawn/0001.json``, for the whole cache.

The log counts at once: readers hide the rows, writers do not compute them again, whatever plan names them. They stay
withdrawn until a later record admits them again. Each record has a copy beside it (``0001.copy``), from which
``ser-cache verify --repair`` restores it: losing one would show rows again that were taken back.
"""

import re
import uuid
from collections.abc import Iterable
from pathlib import Path

from ser_cache.durable import create_exclusive, replace_file, writing
from ser_cache.errors import Damaged
from ser_cache.layout import PLAN_NAME
from ser_cache.seal import read_sealed, seal
from ser_cache.tree import folder, names

COPY_NAME = re.compile(r"[0-9]{4,9}\.copy")


def read_withdrawn(root: Path) -> frozenset[str]:
    """Ids that are withdrawn now."""
    directory = root / "withdrawn"
    copies = names(root, "withdrawn", like=COPY_NAME)
    records = names(root, "withdrawn", like=PLAN_NAME)  # listed last: one that is just being made may lack its copy
    ids: set[str] = set()
    if len(records) < len(copies):
        raise Damaged(str(directory), f"it has {len(records)} records and {len(copies)} copies")
    for number, name in enumerate(records, start=1):
        if name != f"{number:04d}.json":
            raise Damaged(str(directory), f"the record {number:04d}.json is missing")
        action, named = read_withdrawal(directory / name, number)
        ids = ids | named if action == "withdraw" else ids - named
    return frozenset(ids)


def read_withdrawal(path: Path, number: int) -> tuple[str, set[str]]:
    """(``withdraw`` or ``admit``, ids) of one record or copy; raises Damaged."""
    record = read_sealed(path)
    try:
        if record["kind"] != "withdrawal" or record["number"] != number:
            raise Damaged(str(path), f"it is the record of {record['kind']} {record['number']}")
        return str(record["action"]), {str(each) for each in record["ids"]}
    except (KeyError, TypeError) as error:
        raise Damaged(str(path), f"a field is missing or wrong ({error!r})") from error


def record_withdrawal(root: Path, ids: Iterable[str], action: str) -> None:
    """Appends a record (``withdraw`` or ``admit``) to the log; durable on return."""
    with writing(root / "withdrawn"):
        directory = folder(root, "withdrawn")
    named = sorted(set(ids))
    while True:
        number = len(names(root, "withdrawn", like=PLAN_NAME)) + 1
        record = {"kind": "withdrawal", "token": uuid.uuid4().hex, "number": number, "action": action, "ids": named}
        data = seal(record)
        if create_exclusive(directory / f"{number:04d}.json", data):
            replace_file(directory / f"{number:04d}.copy", data)
            return


def complete_copies(root: Path) -> None:
    """Makes the copies that a killed withdrawal did not come to."""
    directory = root / "withdrawn"
    for name in names(root, "withdrawn", like=PLAN_NAME):
        copy = (directory / name).with_suffix(".copy")
        if not copy.exists():
            read_withdrawal(directory / name, int(name[:-5]))
            replace_file(copy, (directory / name).read_bytes())
