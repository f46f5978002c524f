"""Withdrawn utterances and removed entries: the bytes go, not only the names.

A withdrawal is recorded first and counts at once; then every shard that holds a row of it is written again without,
under the next revision of its commit record, and the old one is deleted. A kill in between is finished by the same
command or by gc.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

from ser_cache.catalog import Cache
from ser_cache.containers.base import map_frames, open_data, read_special
from ser_cache.errors import Damaged, MissingEntry, MissingRow
from ser_cache.format.commit import Commit, read_commit
from ser_cache.format.durable import failpoint, writing
from ser_cache.format.layout import aside, check, commit_path, move, remove
from ser_cache.format.ledger import Key, Ledger
from ser_cache.format.log import buried, withdrawal_log
from ser_cache.format.protocol import drop_commit, write_commit
from ser_cache.format.spec import EntrySpec
from ser_cache.items import Row, offsets_of
from ser_cache.maintenance.verify import commit_files


@dataclass(frozen=True)
class Removed:
    """What a withdrawal did.

    Attributes:
        ids: utterances that are withdrawn by it.
        rows: rows whose bytes were removed, over all entries.
        shards: shards that were written again or removed for it.
    """

    ids: tuple[str, ...]
    rows: int
    shards: int


def remove_utterances(cache: Cache, ids: Iterable[str]) -> Removed:
    """Withdraws utterances from every entry.

    Raises:
        MissingRow: an id is in no plan of any entry; nothing was done then.
        Unsafe: there is a link in the cache; nothing was done then.
    """
    check(cache.path)
    asked = tuple(dict.fromkeys(ids))
    withdrawn = cache.withdrawn()
    planned = set(withdrawn)
    for info in cache.entries():
        plans = Ledger.read(info.path, info.fingerprint).plans.values()
        planned |= {name for plan in plans for name, _ in plan.mentions()}
    if unknown := tuple(name for name in asked if name not in planned):
        raise MissingRow(str(cache.path), unknown, len(asked))
    if set(asked) - withdrawn:
        cache.withdraw(asked)
    withdrawal_log(cache.path).complete()
    withdrawn = cache.withdrawn()
    rows = shards = 0
    for info in cache.entries():
        with writing(info.path):
            gone, written = rewrite_withdrawn(info.path, info.spec, withdrawn)
        rows, shards = rows + gone, shards + written
    return Removed(asked, rows, shards)


def rewrite_withdrawn(path: Path, spec: EntrySpec, withdrawn: frozenset[str]) -> tuple[int, int]:
    """Writes every shard of an entry again that holds withdrawn rows; returns (rows removed, shards concerned).

    Older revisions and shards of replaced specs that hold such rows are deleted, not written again.
    """
    ledger = Ledger.read(path, spec.fingerprint)
    rows = shards = 0
    for key, revision, file in list(commit_files(path)):
        current = ledger.commits.get(key)
        live = current is not None and current.revision == revision
        commit = current if current is not None and live else read_commit(file, *key, revision)
        gone = set(commit.ids) & withdrawn
        if not gone and not set(commit.failures) & withdrawn:
            continue
        if live:
            _rewrite(path, spec, key, commit, withdrawn)
        drop_commit(path, file, commit)
        rows, shards = rows + len(gone), shards + 1
    return rows, shards


def _rewrite(path: Path, spec: EntrySpec, key: Key, commit: Commit, withdrawn: frozenset[str]) -> None:
    commit.check_fits(spec, str(commit_path(path, *key, commit.revision)))
    rows: list[Row] = []
    if commit.path is not None:
        shard = open_data(path, commit)
        special = read_special(shard, commit, path)
        frames, _ = map_frames(shard, commit)
        edges = offsets_of(np.array(commit.frames, dtype=np.int64)).tolist()
        for index, name in enumerate(commit.ids):
            if name in withdrawn:
                continue
            part = slice(edges[index], edges[index + 1])
            values = frames[part]
            if google_crc32c.value(values) != commit.crc32c[index]:
                raise Damaged(
                    f"{path}/data/{commit.path}", f"the checksum of utterance {name!r} does not fit its bytes"
                )
            rows.append(Row(name, values, None if special is None else special[part]))
    gone = (set(commit.ids) | set(commit.failures)) & withdrawn
    write_commit(
        path,
        spec,
        commit.container or "zarr",
        key,
        commit.revision + 1,
        rows,
        dict(zip(commit.ids, commit.input_hashes, strict=True)),
        {name: each for name, each in commit.failures.items() if name not in withdrawn},
        sorted({*commit.left_out, *gone}),
        commit.environment,
        commit.recipe,
    )


def remove_entry(cache: Cache, address: str) -> None:
    """Removes a whole entry; it is invisible at once, and a kill in between is finished by gc."""
    check(cache.path)
    paths = cache.entry_paths()
    path = next((each for each in paths if each.name == address), None)
    if path is None:
        raise MissingEntry(str(cache.path), address, tuple(each.name for each in paths))
    with writing(path):
        buried(
            cache.path, address
        )  # first: killed after it, the entry is still there and is removed by the same command
        hidden = aside(path, "removed")
        move(path, path.parent, hidden.name)
        failpoint("entry.remove")
        remove(hidden)
