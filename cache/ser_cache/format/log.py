"""What nothing else could replace: the numbered records of an entry's plans and a cache's withdrawals, and which entries there are.

A log at ``ANCHOR/NAME`` only grows. Record ``NAME/0001.json`` has a copy of equal bytes beside it, ``NAME/0001.copy``, and a
witness of equal bytes in another folder, ``witnesses/NAME/0001.json``. The record is made first, the others before anything is
acknowledged. So the loss of one file or one folder is noticed, the end of the log included, and is made good.

An entry has an empty file ``witnesses/entries/0001-made-ADDRESS``, and after its removal ``0001-removed-ADDRESS``; the number
goes up each time an entry of this address is made again.

The withdrawals (``withdrawn/0001.json``) say which utterances a speaker took back, for the whole cache. They count at once:
readers hide the rows, writers do not compute them again, whatever plan names them, until a later record admits them.
"""

import contextlib
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from ser_cache.errors import CacheError, Damaged
from ser_cache.format.durable import create_exclusive, replace_file, writing
from ser_cache.format.layout import ADDRESS, PLAN_NAME, folder, move, names
from ser_cache.format.seal import Count, Record, read_bytes, read_record, seal

NAME = re.compile(rf"([0-9]{{4}})-(made|removed)-({ADDRESS.pattern})")
WITNESSES = "witnesses"
PLACE = (WITNESSES, "entries")
T = TypeVar("T")


def _numbers(witnesses: Iterable[str], address: str) -> tuple[set[int], set[int]]:
    """Numbers under which an entry was made, and those under which it was removed."""
    parts = [match.groups() for name in witnesses if (match := NAME.fullmatch(name)) and match[3] == address]
    made, removed = ({int(number) for number, event, _ in parts if event == each} for each in ("made", "removed"))
    return made, removed


def living(witnesses: Iterable[str]) -> list[str]:
    """Addresses that were made and not removed since, sorted, from the names of the witnesses."""
    witnesses = list(witnesses)
    addresses = sorted({match[3] for name in witnesses if (match := NAME.fullmatch(name))})
    return [address for address in addresses if (both := _numbers(witnesses, address))[0] - both[1]]


def birth(witnesses: Iterable[str], address: str) -> str | None:
    """Name of the witness that an entry lacks, None if it has one."""
    made, removed = _numbers(witnesses, address)
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


COPY_NAME = re.compile(r"[0-9]{4,9}\.copy")


@dataclass(frozen=True)
class Log(Generic[T]):
    """One log.

    Attributes:
        anchor: the cache or the entry.
        name: ``withdrawn`` or ``plans``.
        read: checks the record of a number in a file; raises Damaged, Unsafe or OSError.
    """

    anchor: Path
    name: str
    read: Callable[[Path, int], T]

    def record(self, number: int) -> Path:
        """The record itself."""
        return self.anchor / self.name / f"{number:04d}.json"

    def places(self, number: int) -> tuple[Path, Path, Path]:
        """Record, copy and witness."""
        record = self.record(number)
        return record, record.with_suffix(".copy"), self.anchor / WITNESSES / self.name / record.name

    def length(self) -> int:
        """How many records there are.

        Raises:
            Damaged: there is a gap, or there were more.
        """
        # witnesses first: a record that is made meanwhile has its witness after itself
        witnesses = names(self.anchor, WITNESSES, self.name, like=PLAN_NAME)
        return counted(names(self.anchor, self.name, like=PLAN_NAME), witnesses, str(self.anchor / self.name))

    def append(self, number: int, data: bytes) -> bool:
        """Makes the record of a number, its copy and its witness; False if another writer took the number first."""
        folder(self.anchor, self.name)
        created = create_exclusive(self.record(number), data)
        if created:
            self._complete(number, data)
        return created

    def _complete(self, number: int, data: bytes) -> None:
        folder(self.anchor, WITNESSES, self.name)
        for path in self.places(number)[1:]:
            create_exclusive(path, data)

    def complete(self) -> None:
        """Makes the copies and witnesses that a killed writer did not come to, or that were lost."""
        for number, _ in self.lacking():
            self.read(self.record(number), number)
            self._complete(number, read_bytes(self.record(number)))

    def lacking(self) -> list[tuple[int, Path]]:
        """(number, path) of copies and witnesses that are not there, of records that are."""
        there = self._there()
        numbers = [int(path.stem) for path in there if path.parent == self.record(1).parent and path.suffix == ".json"]
        return [(number, path) for number in sorted(numbers) for path in self.places(number) if path not in there]

    def _there(self) -> set[Path]:
        records = {self.anchor / self.name / name for like in (PLAN_NAME, COPY_NAME)
                 for name in names(self.anchor, self.name, like=like)}  # fmt: skip
        witnesses = names(self.anchor, WITNESSES, self.name, like=PLAN_NAME)
        return records | {self.anchor / WITNESSES / self.name / name for name in witnesses}

    def last_number(self) -> int:
        """The highest number that anything of the log has."""
        return max((int(path.stem) for path in self._there()), default=0)

    def _good(self, number: int) -> tuple[dict[Path, bytes], dict[bytes, T]]:
        """Bytes of those of the three that are good, and what they say."""
        good: dict[Path, bytes] = {}
        said: dict[bytes, T] = {}
        for path in self.places(number):
            with contextlib.suppress(CacheError, OSError):
                data = read_bytes(path)
                data = next((other for other in said if other == data), data)  # held once, and read once
                if data not in said:
                    said[data] = self.read(path, number)
                good[path] = data
        return good, said

    def inspect(self, number: int) -> tuple[T | None, list[tuple[Path, Exception]]]:
        """The record, None where it is bad, and what is wrong with it, its copy and its witness.

        One that is missing counts only for the record.
        """
        good, said = self._good(number)
        chosen, record = self._chosen(good), self.record(number)
        faults: list[tuple[Path, Exception]] = []
        for path in self.places(number):
            if path in good and good[path] == chosen:
                continue
            try:
                self.read(path, number)
                faults.append((path, Damaged(str(path), "it is not what its copies say")))
            except FileNotFoundError as error:
                if path == record:
                    faults.append((path, error))
            except (CacheError, OSError) as error:
                faults.append((path, error))
        bad = {path for path, _ in faults}
        return said[good[record]] if record in good and record not in bad else None, faults

    @staticmethod
    def _chosen(good: dict[Path, bytes]) -> bytes | None:
        """What most of the good ones say; None if there is none, or if they say different things equally often."""
        ranked = Counter(good.values()).most_common(2)
        undecided = not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1])
        return None if undecided else ranked[0][0]

    def restore(self, number: int) -> bool:
        """Makes the three equal from those that are good; False if none is, or if they contradict each other."""
        good, _ = self._good(number)
        chosen = self._chosen(good)
        if chosen is None:
            return False
        folder(self.anchor, self.name)
        folder(self.anchor, WITNESSES, self.name)
        for path in self.places(number):
            if good.get(path) != chosen:
                self._aside(path)
                replace_file(path, chosen)
        return True

    def replace(self, number: int, data: bytes) -> None:
        """Puts another record under a number, for a repair that has nothing to restore it from."""
        folder(self.anchor, self.name)
        folder(self.anchor, WITNESSES, self.name)
        for path in self.places(number):
            self._aside(path)
        for path in reversed(self.places(number)):  # the record last: killed before, it is still missing
            replace_file(path, data)

    @staticmethod
    def _aside(path: Path) -> None:
        move(path, path.parent, f".bad-{uuid.uuid4().hex[:8]}-{path.name}")


def counted(records: Iterable[str], witnesses: Iterable[str], where: str) -> int:
    """The number of records of a log, from the names of its records and witnesses (``0001.json``).

    Raises:
        Damaged: there is a gap, or there were more.
    """
    numbers = sorted(int(name[:-5]) for name in records)
    expected = max([*numbers, *(int(name[:-5]) for name in witnesses)], default=0)
    for number in range(1, expected + 1):
        if number > len(numbers) or numbers[number - 1] != number:
            others = "later ones are" if number < len(numbers) + 1 else "its witness is"
            raise Damaged(f"{where}/{number:04d}.json", f"it is missing, and {others} there")
    return expected


class Withdrawal(Record):
    """``withdrawn/NNNN.json``."""

    kind: Literal["withdrawal"]
    number: Count
    action: Literal["withdraw", "admit"]
    ids: list[str]


def withdrawal_log(root: Path) -> Log[Withdrawal]:
    """The withdrawals of a cache, as the log that they are."""
    return Log(root, "withdrawn", read_withdrawal)


def read_withdrawn(root: Path) -> frozenset[str]:
    """Ids that are withdrawn now; raises Damaged if a record is bad or missing."""
    log = withdrawal_log(root)
    ids: set[str] = set()
    for number in range(1, log.length() + 1):
        record = log.read(log.record(number), number)
        ids = ids.union(record.ids) if record.action == "withdraw" else ids.difference(record.ids)
    return frozenset(ids)


def read_withdrawal(path: Path, number: int) -> Withdrawal:
    """One record or copy; raises Damaged where it is not what its name says."""
    record = read_record(Withdrawal, path)
    if record.number != number:
        raise Damaged(str(path), f"it is the record of withdrawal {record.number}")
    return record


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
