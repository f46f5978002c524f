"""Which utterances a speaker took back: a log of immutable records, ``withdrawn/0001.json``, for the whole cache.

The log counts at once: readers hide the rows, writers do not compute them again, whatever plan names them. They stay
withdrawn until a later record admits them again. It is kept three times (`ser_cache.format.log`): losing a record would show rows
again that were taken back.
"""

import uuid
from collections.abc import Iterable
from pathlib import Path

from ser_cache.errors import Damaged
from ser_cache.format.durable import writing
from ser_cache.format.log import Log
from ser_cache.format.records import WithdrawalRecord, checked
from ser_cache.format.seal import read_sealed, seal


def withdrawal_log(root: Path) -> Log:
    """The withdrawals of a cache, as the log that they are."""
    return Log(root, "withdrawn", read_withdrawal)


def read_withdrawn(root: Path) -> frozenset[str]:
    """Ids that are withdrawn now; raises Damaged if a record is bad or missing."""
    log = withdrawal_log(root)
    ids: set[str] = set()
    for number in range(1, log.length() + 1):
        action, named = log.read(log.record(number), number)
        ids = ids | named if action == "withdraw" else ids - named
    return frozenset(ids)


def read_withdrawal(path: Path, number: int) -> tuple[str, set[str]]:
    """(``withdraw`` or ``admit``, ids) of one record or copy; raises Damaged."""
    record = checked(WithdrawalRecord, read_sealed(path), str(path))
    if record.number != number:
        raise Damaged(str(path), f"it is the record of withdrawal {record.number}")
    return record.action, set(record.ids)


def record_withdrawal(root: Path, ids: Iterable[str], action: str) -> None:
    """Appends a record (``withdraw`` or ``admit``) to the log; durable on return."""
    log, named = withdrawal_log(root), sorted(set(ids))
    with writing(root / "withdrawn"):
        log.complete()
        while True:
            number = log.length() + 1
            record = {"kind": "withdrawal", "token": uuid.uuid4().hex, "number": number, "action": action, "ids": named}
            if log.append(number, seal(record)):
                return
