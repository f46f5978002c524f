"""A cache on an object store: pushed from local directories and pulled into them.

The layout is that of a local cache. An object store has no links and no fsync, but it has one thing that a commit needs: a
PUT that only succeeds where nothing is (``If-None-Match: *``), whole or not at all. So a shard is computed and committed in a
local staging cache, its data go up under their unique names, and the conditional PUT of its commit record makes it exist;
whoever is second deletes its own data. Readers pull the entries they use into a local mirror and read that at full speed.
Shards are verified before they go up and after they came down.
"""

import os
import re
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ser_cache.catalog import ATTACHMENT_NAME, FORMAT, Cache, create_cache, note, open_cache, read_spec
from ser_cache.errors import CacheError, Damaged, MissingEntry
from ser_cache.exchange.store import (
    Moved,
    Progress,
    RemoteDamaged,
    Store,
    check_format,
    compare,
    remote_spec,
    same_spec,
)
from ser_cache.format.commit import Commit
from ser_cache.format.durable import create_exclusive, sync_tree, writing
from ser_cache.format.layout import COMMIT_NAME, PLAN_NAME, check, commit_path, files, folder, inside, names
from ser_cache.format.ledger import Ledger
from ser_cache.format.log import COPY_NAME, PLACE, Log, birth, born, living, withdrawal_log
from ser_cache.format.plan import plan_log
from ser_cache.format.protocol import remove_data
from ser_cache.format.seal import hash_file, read_bytes, record_of, seal, unseal
from ser_cache.format.spec import EntrySpec
from ser_cache.maintenance.verify import check_data


def push(cache: Path, url: str | Store, progress: Progress | None = None, *, repair: bool = False) -> Moved:
    """Uploads what the store lacks: records first, then shard after shard, each visible only when it is whole.

    Any number of caches may push to one store at once. Killed, it is run again; what was half uploaded was never visible.

    Args:
        cache: local cache; only read.
        url: see `Store`; or an open one.
        progress: called with (shards done, shards in all).
        repair: read the shards on the store as well, and put ours in the place of those whose bytes are not those of their
            own commit; of records likewise. Nothing that is good is ever replaced.

    Raises:
        SpecMismatch, RemoteConflict: the store's cache was made or planned differently.
        Damaged: shards of the local cache are damaged; all others are pushed by then.
        RemoteDamaged: a record on the store is damaged, and this is not a repair.
    """
    opened, moved = open_cache(cache), Moved()
    store = url if isinstance(url, Store) else Store(url)
    check(cache)
    if not store.create("format.json", seal(FORMAT)):
        check_format(store)
    _send_log(store, withdrawal_log(cache), "", repair)
    work: list[tuple[str, Path, Commit, bool]] = []
    for info in opened.entries():
        base = f"entries/{info.address}"
        _send_spec(store, base, info.path, info.spec, repair)
        ledger = Ledger.read(info.path, info.fingerprint)
        _send_log(store, plan_log(info.path), f"{base}/", repair)
        held = set(names(info.path, "data"))
        there = {
            (int(generation), name)
            for generation in store.names(f"{base}/commits")
            for name in store.names(f"{base}/commits/{generation}")
        }
        for key, commit in sorted(ledger.commits.items()):
            there_already = (key[0], f"{key[1]:08d}-{commit.revision:04d}.json") in there
            if there_already and not repair:
                moved.already += 1
            elif commit.path is None or commit.path in held:
                work.append((base, info.path, commit, there_already))
    bad: list[Damaged] = []
    for number, (base, path, commit, there_already) in enumerate(work):
        stale, theirs = _damaged_commit(store, base, commit) if there_already else (True, [])
        if not stale:
            moved.already += 1
        elif commit.path is not None and (problem := check_data(path, commit)):
            bad.append(Damaged(f"{path}/data/{commit.path}", f"{problem}; it was not pushed"))
        else:
            if there_already:
                store.delete([f"{base}/{_record(commit)}", *theirs])
                moved.replaced += 1
            _send_shard(store, base, path, commit, moved)
        if progress is not None:
            progress(number + 1, len(work))
    for name in opened.attachments():
        data = opened.attachment(name)
        store.replace(f"checksums/{name}/{note(data)}", b"")
        store.replace(f"attachments/{name}", data)
    if bad:
        raise bad[0]
    return moved


def _record(commit: Commit) -> str:
    return commit_path(Path(), commit.generation, commit.shard, commit.revision).as_posix()


def _send_spec(store: Store, base: str, entry: Path, spec: EntrySpec, repair: bool) -> None:
    data = read_bytes(entry / "entry.json")
    if not store.create(f"{base}/entry.json", data):
        try:
            same_spec(remote_spec(store, base), spec, store.url)
        except RemoteDamaged:
            if not repair:
                raise
            store.replace(f"{base}/entry.json", data)
    if (name := birth(store.names("/".join(PLACE)), spec.address)) is not None:
        store.create("/".join((*PLACE, name)), b"")


def _send_log(store: Store, log: Log[Any], base: str, repair: bool) -> None:
    """Uploads each record of a log to its three places."""
    for number in range(1, log.length() + 1):
        data = read_bytes(log.record(number))
        for place in log.places(number):
            path = base + place.relative_to(log.anchor).as_posix()
            if store.create(path, data):
                continue
            try:
                compare(data, store.read(path), path, store.url)
            except RemoteDamaged:
                if not repair:
                    raise
                store.replace(path, data)


def _damaged_commit(store: Store, base: str, ours: Commit) -> tuple[bool, list[str]]:
    """Whether the commit on the store, or a byte of its data, is not what was written; and the names of its data."""
    where = f"{store.url}/{base}/{_record(ours)}"
    try:
        theirs = record_of(Commit, store.read(f"{base}/{_record(ours)}"), where)
    except FileNotFoundError:
        return True, []
    except CacheError:
        return True, [f"{base}/data/{name}" for name in ours.files]
    data = [f"{base}/data/{name}" for name in theirs.files]
    with tempfile.TemporaryDirectory(prefix="ser-cache-") as scratch:
        for number, (path, (size, digest)) in enumerate(zip(data, theirs.files.values(), strict=True)):
            local = Path(scratch, str(number))
            try:
                store.fetch(path, local)
            except FileNotFoundError:
                return True, data
            if local.stat().st_size != size or hash_file(local) != digest:
                return True, data
            local.unlink()
    return False, data


def _send_shard(store: Store, base: str, entry: Path, commit: Commit, moved: Moved) -> None:
    sent = [f"{base}/data/{name}" for name in commit.files]
    for name, remote in zip(commit.files, sent, strict=True):
        store.send(inside(entry, f"data/{name}"), remote)
    if store.create(f"{base}/{_record(commit)}", read_bytes(entry / _record(commit))):
        moved.committed += 1
        moved.bytes += commit.size
    else:
        store.delete(sent)
        moved.already += 1


RECORD = re.compile(f"{PLAN_NAME.pattern}|{COPY_NAME.pattern}")


def pull(
    url: str, into: Path, *, addresses: Sequence[str] = (), records: bool = False, progress: Progress | None = None
) -> Moved:
    """Downloads entries (all by default) into a local mirror, or with ``records`` only what a writer needs to go on.

    Every file is compared with size and hash of its commit before it takes its name, and every shard is read before its
    commit record is made. Attachments are compared with the notes on the store.

    Args:
        url: see `Store`.
        into: local cache; made if it is not there. What it holds already is not fetched again.
        addresses: which entries.
        records: no features: plans and commits only.
        progress: called with (shards done, shards in all).

    Raises:
        NotACache: no cache there.
        RemoteDamaged: an object is not what its record says, or is gone.
        SpecMismatch, RemoteConflict: the local cache was made or planned differently.
    """
    store, moved = Store(url), Moved()
    check_format(store)
    stored = tuple(store.names("entries"))
    if absent := [name for name in addresses if name not in stored]:
        raise MissingEntry(store.url, absent[0], stored)
    if gone := [each for each in living(store.names("/".join(PLACE))) if each not in stored]:
        raise RemoteDamaged(f"{store.url}/entries/{gone[0]}", "the whole entry is gone, and its witness is there")
    if into.is_dir():
        check(into)
    create_cache(into)
    _fetch_log(store, withdrawal_log(into), "")
    work: list[tuple[str, Path, str, bytes, Commit]] = []
    for address in addresses or stored:
        work += _fetch_records(store, address, into)
    for number, (base, entry, name, data, commit) in enumerate(work):
        path = inside(entry, name)
        with writing(path):
            folder(entry, *name.split("/")[:-1])
        there = path.exists()
        ours = read_bytes(path) if there else data  # another record: our own rows of a race that we lost
        if not records and commit.path is not None and ours == data:
            _fetch_data(store, base, entry, commit, moved, there)
        if there or not create_exclusive(path, data):
            moved.already += 1
        else:
            moved.committed += 1
        if progress is not None:
            progress(number + 1, len(work))
    for name in store.names("attachments"):
        if ATTACHMENT_NAME.fullmatch(name):
            data = store.read(f"attachments/{name}")
            if note(data) not in store.names(f"checksums/{name}"):
                raise RemoteDamaged(f"{store.url}/attachments/{name}", "its checksum was never noted")
            Cache(into).attach(name, data)
    return moved


def _fetch_log(store: Store, log: Log[Any], base: str) -> None:
    """Downloads each record of a log, from the first of its three places that is good."""
    places = [base + place.relative_to(log.anchor).parent.as_posix() for place in log.places(1)]
    records = {name for place in places for name in store.names(place) if RECORD.fullmatch(name)}
    numbers = [int(name[:-5]) for name in records]
    for number in range(1, max(numbers, default=0) + 1):
        data = _first_good(store, log, base, number)
        with writing(log.record(number)):
            if not log.append(number, data):
                compare(read_bytes(log.record(number)), data, log.record(number).name, store.url)
    with writing(log.anchor):
        log.complete()


def _first_good(store: Store, log: Log[Any], base: str, number: int) -> bytes:
    problem: Exception | None = None
    for place in log.places(number):
        path = base + place.relative_to(log.anchor).as_posix()
        try:
            data = store.read(path)
            unseal(data, f"{store.url}/{path}")
        except (FileNotFoundError, CacheError) as error:
            problem = problem or error
        else:
            return data
    why = problem.problem if isinstance(problem, Damaged) else "it is missing, and later ones or its witness are there"
    raise RemoteDamaged(f"{store.url}/{base}{log.name}/{number:04d}.json", why)


def _fetch_records(store: Store, address: str, into: Path) -> list[tuple[str, Path, str, bytes, Commit]]:
    """Entry and plans into the mirror; returns the commits, whose data come before their records."""
    base = f"entries/{address}"
    spec = remote_spec(store, base)
    if spec.address != address:
        raise RemoteDamaged(f"{store.url}/{base}", f"its record is that of {spec.address}")
    # commits are listed before plans: whatever plan a commit is of, it was there before
    commits = [
        f"commits/{generation}/{name}"
        for generation in store.names(f"{base}/commits")
        for name in store.names(f"{base}/commits/{generation}")
        if generation.isdecimal() and COMMIT_NAME.fullmatch(name)
    ]
    with writing(into):
        entry = folder(into, "entries", address)
        folder(entry, "data")
    if not create_exclusive(entry / "entry.json", store.read(f"{base}/entry.json")):
        same_spec(read_spec(entry), spec, store.url)
    _fetch_log(store, plan_log(entry), f"{base}/")
    with writing(entry):
        born(into, address)
    work = []
    for name in commits:
        data = store.read(f"{base}/{name}")
        where = f"{store.url}/{base}/{name}"
        try:
            commit = record_of(Commit, data, where)
        except Damaged as error:
            raise RemoteDamaged(where, error.problem) from error
        work.append((base, entry, name, data, commit))
    return work


def _fetch_data(store: Store, base: str, entry: Path, commit: Commit, moved: Moved, committed: bool) -> None:
    for name, (size, digest) in commit.files.items():
        target, where = inside(entry, f"data/{name}"), f"{store.url}/{base}/data/{name}"
        if target.exists() and target.stat().st_size == size and (committed or hash_file(target) == digest):
            continue
        with writing(target):
            folder(entry, "data", *name.split("/")[:-1])
            scratch = entry / "data" / f".{uuid.uuid4().hex}.tmp"
            try:
                store.fetch(f"{base}/data/{name}", scratch)
                if scratch.stat().st_size != size or hash_file(scratch) != digest:
                    raise RemoteDamaged(where, "it is not what its commit says")
                os.replace(scratch, target)
            except FileNotFoundError as error:
                raise RemoteDamaged(where, "it is gone") from error
            finally:
                scratch.unlink(missing_ok=True)
        moved.bytes += size
    path = entry / "data" / str(commit.path)
    sync_tree(path, files(path))
    if not committed and (problem := check_data(entry, commit)):
        remove_data(path)
        raise RemoteDamaged(f"{store.url}/{base}/data/{commit.path}", problem)
