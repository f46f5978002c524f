"""From a local cache to an object store; see `ser_cache.exchange.remote`."""

import tempfile
from pathlib import Path

from ser_cache.attachments import note
from ser_cache.catalog import FORMAT, open_cache
from ser_cache.errors import CacheError, Damaged
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
from ser_cache.format.layout import commit_path
from ser_cache.format.ledger import Ledger
from ser_cache.format.log import PLACE, Log, birth
from ser_cache.format.plan import plan_log
from ser_cache.format.seal import hash_file, read_bytes, seal, unseal
from ser_cache.format.spec import EntrySpec
from ser_cache.format.tree import check, inside, names
from ser_cache.format.withdrawals import withdrawal_log
from ser_cache.maintenance.verify import check_data


def push(cache: Path, url: str, progress: Progress | None = None, *, repair: bool = False) -> Moved:
    """Uploads what the store lacks: records first, then shard after shard, each visible only when it is whole.

    Any number of caches may push to one store at once. Killed, it is run again; what was half uploaded was never visible.

    Args:
        cache: local cache; only read.
        url: see `Store`.
        progress: called with (shards done, shards in all).
        repair: read the shards on the store as well, and put ours in the place of those whose bytes are not those of their
            own commit; of records likewise. Nothing that is good is ever replaced.

    Raises:
        SpecMismatch, RemoteConflict: the store's cache was made or planned differently.
        Damaged: shards of the local cache are damaged; all others are pushed by then.
        RemoteDamaged: a record on the store is damaged, and this is no repair.
    """
    opened, store, moved = open_cache(cache), Store(url), Moved()
    check(cache)
    if not store.create("format.json", seal(FORMAT)):
        check_format(store)
    _send_log(store, withdrawal_log(cache), "", repair)
    work: list[tuple[str, Path, Commit, bool]] = []
    for info in opened.entries():
        base = f"entries/{info.address}"
        _send_spec(store, base, info.path, info.spec, repair)
        ledger = Ledger(info.path, info.fingerprint)
        ledger.refresh()
        _send_log(store, plan_log(info.path), f"{base}/", repair)
        held = set(names(info.path, "data"))
        there = {
            (int(generation), name)
            for generation in store.names(f"{base}/commits")
            for name in store.names(f"{base}/commits/{generation}")
        }
        for key, commit in sorted(ledger.commits.items()):
            known = (key[0], f"{key[1]:08d}-{commit.revision:04d}.json") in there
            if known and not repair:
                moved.already += 1
            elif commit.path is None or commit.path in held:
                work.append((base, info.path, commit, known))
    bad: list[Damaged] = []
    for number, (base, path, commit, known) in enumerate(work):
        stale, theirs = _damaged_commit(store, base, commit) if known else (True, [])
        if not stale:
            moved.already += 1
        elif commit.path is not None and (problem := check_data(path, commit)):
            bad.append(Damaged(f"{path}/data/{commit.path}", f"{problem}; it was not pushed"))
        else:
            if known:
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


def _send_log(store: Store, log: Log, base: str, repair: bool) -> None:
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
        theirs = Commit.from_record(unseal(store.read(f"{base}/{_record(ours)}"), where), where)
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
