"""A derived index of a cache: one SQLite file on a local disk, for look-ups that read neither plans nor commits.

Opening an entry of a million utterances reads every record of it; a look-up here takes microseconds, and one row is read
through the one commit record that it needs. The index is never an authority: it is made from the records at will, notices
when they have changed, and is thrown away without loss. It does not belong on a network file system (SQLite's locks).
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import google_crc32c
import numpy as np
import xxhash
from numpy.typing import NDArray

from ser_base.files import replacing
from ser_cache.catalog import Cache, EntryInfo, open_cache
from ser_cache.containers.opening import map_frames, open_data
from ser_cache.errors import CacheError, Damaged, MissingRow, StaleEntry
from ser_cache.format.bulk import uncollected
from ser_cache.format.commit import read_commit
from ser_cache.format.durable import make_directory, writing
from ser_cache.format.layout import COMMIT_NAME, GENERATION_NAME, PLAN_NAME, commit_path
from ser_cache.format.ledger import Ledger
from ser_cache.format.tree import inside, names
from ser_cache.items import offsets_of

VERSION = 1
Progress = Callable[[int, int], None]
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE about (version INTEGER NOT NULL, cache TEXT NOT NULL);
CREATE TABLE entry (number INTEGER PRIMARY KEY, address TEXT NOT NULL, spec TEXT NOT NULL, state TEXT NOT NULL,
                    utterances INTEGER NOT NULL, frames INTEGER NOT NULL, failures INTEGER NOT NULL,
                    missing INTEGER NOT NULL, commits INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE row (utterance BLOB NOT NULL, entry INTEGER NOT NULL, generation INTEGER NOT NULL, shard INTEGER NOT NULL,
                  revision INTEGER NOT NULL, start INTEGER NOT NULL, frames INTEGER NOT NULL, crc32c INTEGER NOT NULL,
                  PRIMARY KEY (utterance, entry)) WITHOUT ROWID;
CREATE TABLE failure (utterance BLOB NOT NULL, entry INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
                      PRIMARY KEY (utterance, entry)) WITHOUT ROWID;
"""


class StaleIndex(CacheError):
    """An index whose cache has changed since, or that is none."""

    path: str
    problem: str
    got = "the index {path} cannot be used: {problem}."
    next = "Make it again: ser cache index CACHE"


@dataclass(frozen=True, slots=True)
class Located:
    """Where the row of an utterance lies.

    Attributes:
        address: of the entry.
        generation, shard, revision: of the commit.
        start, frames: within the shard's values.
        crc32c: of the row.
    """

    address: str
    generation: int
    shard: int
    revision: int
    start: int
    frames: int
    crc32c: int


def default_path(cache: Path) -> Path:
    """Where the index of a cache lies if nothing else is said: in the user's own cache directory, on this machine."""
    from platformdirs import user_cache_path

    return (
        user_cache_path("ser-fusion") / "indexes" / f"{xxhash.xxh3_64_hexdigest(os.fsencode(cache.resolve()))}.sqlite"
    )


def _key(utterance: str) -> bytes:
    """An id as SQLite holds it: ids may be any text, also such that is no UTF-8."""
    return utterance.encode("utf-8", "surrogatepass")


def state(cache: Cache, info: EntryInfo) -> str:
    """Hash of the names of an entry's records, and of who is withdrawn: the records themselves never change."""
    digest = xxhash.xxh3_128(info.fingerprint.encode())
    for name in names(info.path, "plans", like=PLAN_NAME):
        digest.update(f"plan {name}\n".encode())
    for generation in names(info.path, "commits", like=GENERATION_NAME):
        for name in names(info.path, "commits", generation, like=COMMIT_NAME):
            digest.update(f"{generation}/{name}\n".encode())
    for name in names(cache.path, "withdrawn", like=PLAN_NAME):
        digest.update(f"withdrawn {name}\n".encode())
    return digest.hexdigest()


def build_index(cache: Path, to: Path | None = None, progress: Progress | None = None) -> Path:
    """Reads every record of a cache into a new index, which replaces an old one at once; returns its path.

    Args:
        cache: the cache; nothing is written into it.
        to: SQLite file; `default_path` if None.
        progress: called with (entries done, entries in all).
    """
    opened = open_cache(cache)
    path = to or default_path(cache)
    with writing(path):
        make_directory(path.parent.absolute())
        try:
            with replacing(path) as scratch, closing(sqlite3.connect(scratch)) as database:
                database.executescript(_TABLES)
                database.execute("INSERT INTO about VALUES (?, ?)", (VERSION, str(cache.resolve())))
                infos = opened.entries()
                for number, info in enumerate(infos):
                    _add(database, opened, number, info)
                    if progress is not None:
                        progress(number + 1, len(infos))
                database.commit()
        except sqlite3.Error as error:
            raise OSError(str(error)) from error
    return path


@uncollected()
def _add(database: sqlite3.Connection, cache: Cache, number: int, info: EntryInfo) -> None:
    seen = state(cache, info)  # before the records are read: what is committed meanwhile makes the index stale
    ledger = Ledger(info.path, info.fingerprint)
    ledger.refresh()
    withdrawn = cache.withdrawn()
    wanted = {name: value for name, value in ledger.wanted().items() if name not in withdrawn}
    places = ledger.rows(wanted)
    failures = {name: each for name, (each, _) in ledger.failures(wanted).items() if name not in places}
    offsets = {
        key: offsets_of(np.array(commit.frames, dtype=np.int64)).tolist() for key, commit in ledger.commits.items()
    }

    def rows() -> Iterator[tuple[Any, ...]]:
        for name in sorted(places):  # in the order of the key: SQLite appends
            key, row = places[name]
            commit = ledger.commits[key]
            yield _key(name), number, *key, commit.revision, offsets[key][row], commit.frames[row], commit.crc32c[row]

    database.executemany("INSERT INTO row VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows())
    told = [(_key(name), number, each.reason, each.detail) for name, each in failures.items()]
    database.executemany("INSERT INTO failure VALUES (?, ?, ?, ?)", told)
    frames = sum(ledger.commits[key].frames[row] for key, row in places.values())
    counts = (len(places), frames, len(failures), len(wanted) - len(places) - len(failures), len(ledger.commits))
    size = sum(commit.size for commit in ledger.commits.values())
    spec = json.dumps(info.spec.as_dict())
    database.execute(
        "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (number, info.address, spec, seen, *counts, size)
    )


class Index:
    """An open index, read-only. A context manager.

    Args:
        path: SQLite file.
        cache: the cache it must be of; the one it was made of if None.

    Raises:
        StaleIndex: no index, of another version or another cache.
    """

    def __init__(self, path: Path, cache: Path | None = None) -> None:
        self.path = path
        if not path.is_file():
            raise StaleIndex(str(path), "there is no such file")
        try:
            self._database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
            version, root = self._database.execute("SELECT version, cache FROM about").fetchone()
            found = self._database.execute("SELECT number, address, state FROM entry").fetchall()
        except (sqlite3.Error, TypeError) as error:
            raise StaleIndex(str(path), f"SQLite cannot read it ({error})") from error
        if version != VERSION or (cache is not None and str(cache.resolve()) != root):
            raise StaleIndex(str(path), f"it is of version {version} and of {root}")
        self.cache = Path(root)
        self._addresses = {number: address for number, address, _ in found}
        self._states = {address: value for _, address, value in found}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def changed(self) -> tuple[str, ...]:
        """Addresses whose records are not those that were indexed; lists directories, reads no record."""
        opened = open_cache(self.cache)
        now = {info.address: state(opened, info) for info in opened.entries()}
        return tuple(sorted(name for name in {*now, *self._states} if now.get(name) != self._states.get(name)))

    def entries(self) -> list[dict[str, Any]]:
        """Counts of each entry."""
        fields = ("address", "utterances", "frames", "failures", "missing", "commits", "bytes")
        found = self._database.execute(f"SELECT {', '.join(fields)} FROM entry ORDER BY address")
        return [dict(zip(fields, values, strict=True)) for values in found]

    def find(self, utterance: str) -> tuple[Located, ...]:
        """The rows of one utterance in all entries."""
        found = self._database.execute(
            "SELECT entry, generation, shard, revision, start, frames, crc32c FROM row WHERE utterance = ?",
            (_key(utterance),),
        )
        return tuple(Located(self._addresses[entry], *rest) for entry, *rest in found)

    def failures(self, utterance: str) -> dict[str, tuple[str, str]]:
        """Address -> (reason, detail) where an utterance has no row because it failed."""
        found = self._database.execute(
            "SELECT entry, reason, detail FROM failure WHERE utterance = ?", (_key(utterance),)
        )
        return {self._addresses[entry]: (reason, detail) for entry, reason, detail in found}

    def ids(self, address: str, after: str = "", limit: int = 1000) -> list[str]:
        """Utterances with a row in an entry, sorted, a page at a time: those behind ``after``."""
        numbers = [number for number, each in self._addresses.items() if each == address]
        found = self._database.execute(
            "SELECT utterance FROM row WHERE entry = ? AND utterance > ? ORDER BY utterance LIMIT ?",
            (numbers[0] if numbers else -1, _key(after), limit),
        )
        return [name.decode("utf-8", "surrogatepass") for (name,) in found]

    def read(self, address: str, utterance: str) -> NDArray[np.floating]:
        """Frames ``(frames, features)`` of one utterance, checked; reads one commit record and one shard.

        Raises:
            MissingRow: no row of it in this entry.
            StaleEntry: its commit is no longer there.
            Damaged: its bytes are not those written.
        """
        entry = inside(self.cache, f"entries/{address}")
        place = next((each for each in self.find(utterance) if each.address == address), None)
        if place is None:
            raise MissingRow(str(entry), (utterance,), 1)
        key = (place.generation, place.shard, place.revision)
        try:
            commit = read_commit(commit_path(entry, *key), *key)
        except FileNotFoundError as error:
            raise StaleEntry(str(entry)) from error
        frames, _ = map_frames(open_data(entry, commit), commit)
        values = frames[place.start : place.start + place.frames]
        if google_crc32c.value(values) != place.crc32c:
            raise Damaged(
                f"{entry}/data/{commit.path}", f"the checksum of utterance {utterance!r} does not fit its bytes"
            )
        return values.copy()
