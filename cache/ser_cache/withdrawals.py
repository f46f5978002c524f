"""Which utterances a speaker took back: a log of immutable records, ``withdrawn/0001.json``, for the whole cache.

The log counts at once: readers hide the rows, writers do not compute them again, whatever plan names them. They stay withdrawn until a
later record admits them again.
"""

import uuid
from collections.abc import Iterable
from pathlib import Path

from ser_cache.durable import create_exclusive, make_directory
from ser_cache.errors import Damaged
from ser_cache.layout import PLAN_NAME, numbered
from ser_cache.seal import read_sealed, seal


def read_withdrawn(root: Path) -> frozenset[str]:
    """Ids that are withdrawn now."""
    directory = root / "withdrawn"
    names = numbered(directory, PLAN_NAME)
    ids: set[str] = set()
    for number, name in enumerate(names, start=1):
        if name != f"{number:04d}.json":
            raise Damaged(str(directory), f"the record {number:04d}.json is missing")
        record = read_sealed(directory / name)
        try:
            if record["kind"] != "withdrawal" or record["number"] != number:
                raise Damaged(str(directory / name), f"it is the record of {record['kind']} {record['number']}")
            named = {str(each) for each in record["ids"]}
            ids = ids | named if record["action"] == "withdraw" else ids - named
        except (KeyError, TypeError) as error:
            raise Damaged(str(directory / name), f"a field is missing or wrong ({error!r})") from error
    return frozenset(ids)


def record_withdrawal(root: Path, ids: Iterable[str], action: str) -> None:
    """Appends a record (``withdraw`` or ``admit``) to the log; durable on return."""
    directory = root / "withdrawn"
    make_directory(directory)
    named = sorted(set(ids))
    while True:
        number = len(numbered(directory, PLAN_NAME)) + 1
        record = {"kind": "withdrawal", "token": uuid.uuid4().hex, "number": number, "action": action, "ids": named}
        if create_exclusive(directory / f"{number:04d}.json", seal(record)):
            return
