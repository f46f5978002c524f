"""From an object store into a local mirror; see `ser_cache.exchange.remote`."""

import os
import re
import uuid
from collections.abc import Sequence
from pathlib import Path

from ser_cache.attachments import NAME, note
from ser_cache.catalog import Cache, create_cache, read_spec
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
from ser_cache.format.discard import remove_data
from ser_cache.format.durable import create_exclusive, sync_tree, writing
from ser_cache.format.layout import COMMIT_NAME, PLAN_NAME
from ser_cache.format.log import COPY_NAME, PLACE, Log, born, living
from ser_cache.format.plan import plan_log
from ser_cache.format.seal import hash_file, read_bytes, unseal
from ser_cache.format.tree import check, files, folder, inside
from ser_cache.format.withdrawals import withdrawal_log
from ser_cache.maintenance.verify import check_data

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
    known = tuple(store.names("entries"))
    if absent := [name for name in addresses if name not in known]:
        raise MissingEntry(store.url, absent[0], known)
    if gone := [each for each in living(store.names("/".join(PLACE))) if each not in known]:
        raise RemoteDamaged(f"{store.url}/entries/{gone[0]}", "the whole entry is gone, and its witness is there")
    if into.is_dir():
        check(into)
    create_cache(into)
    _fetch_log(store, withdrawal_log(into), "")
    work: list[tuple[str, Path, str, bytes, Commit]] = []
    for address in addresses or known:
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
        if NAME.fullmatch(name):
            data = store.read(f"attachments/{name}")
            if note(data) not in store.names(f"checksums/{name}"):
                raise RemoteDamaged(f"{store.url}/attachments/{name}", "its checksum was never noted")
            Cache(into).attach(name, data)
    return moved


def _fetch_log(store: Store, log: Log, base: str) -> None:
    """Downloads each record of a log, from the first of its three places that is good."""
    places = [base + place.relative_to(log.anchor).parent.as_posix() for place in log.places(1)]
    found = {name for place in places for name in store.names(place) if RECORD.fullmatch(name)}
    numbers = [int(name[:-5]) for name in found]
    for number in range(1, max(numbers, default=0) + 1):
        data = _first_good(store, log, base, number)
        with writing(log.record(number)):
            if not log.append(number, data):
                compare(read_bytes(log.record(number)), data, log.record(number).name, store.url)
    with writing(log.anchor):
        log.complete()


def _first_good(store: Store, log: Log, base: str, number: int) -> bytes:
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
    found = []
    for name in commits:
        data = store.read(f"{base}/{name}")
        where = f"{store.url}/{base}/{name}"
        try:
            commit = Commit.from_record(unseal(data, where), where)
        except Damaged as error:
            raise RemoteDamaged(where, error.problem) from error
        found.append((base, entry, name, data, commit))
    return found


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
