"""A cache on an object store: pushed from local directories and pulled into them, through fsspec.

The layout is that of a local cache. An object store has no links and no fsync, but it has one thing that a commit needs: a
PUT that only succeeds where nothing is (``If-None-Match: *``), whole or not at all. So a shard is computed and committed in a
local staging cache, its data go up under their unique names, and the conditional PUT of its commit record makes it exist;
whoever is second deletes its own data. Readers pull the entries they use into a local mirror and read that at full speed.
"""

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_cache.attachments import NAME
from ser_cache.catalog import FORMAT, Cache, create_cache, open_cache, read_spec
from ser_cache.checksum import hash_file
from ser_cache.commit import Commit
from ser_cache.durable import create_exclusive, sync_tree, writing
from ser_cache.errors import CacheError, Damaged, MissingEntry, NotACache, SpecMismatch
from ser_cache.layout import COMMIT_NAME, PLAN_NAME, commit_path
from ser_cache.ledger import Ledger
from ser_cache.seal import seal, unseal
from ser_cache.spec import EntrySpec, differences
from ser_cache.tree import check, files, folder, inside, names
from ser_cache.withdrawals import COPY_NAME

CONDITIONAL = ("s3", "s3a", "memory")
"""Protocols whose exclusive create is atomic and tested here."""
Progress = Callable[[int, int], None]


class CannotReach(CacheError, OSError):
    """An object store that cannot be used."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(url, problem)
        self.url, self.problem = url, problem

    def __str__(self) -> str:
        return (
            f"{self.url} cannot be used as a cache: {self.problem}.\n"
            "Give s3://BUCKET/PREFIX with the usual AWS settings (AWS_PROFILE, AWS_ENDPOINT_URL, ...); S3 needs "
            'pip install "ser-fusion[s3]".'
        )


class RemoteConflict(CacheError, ValueError):
    """The local cache and the one on the store were planned apart from each other."""

    def __init__(self, url: str, record: str) -> None:
        super().__init__(url, record)
        self.url, self.record = url, record

    def __str__(self) -> str:
        return (
            f"{self.url} and the local cache have different records {self.record}; nothing more was moved.\n"
            "Pull the store into a new directory, ser-cache merge the local cache into it, and push that."
        )


@dataclass
class Moved:
    """What a push or a pull did.

    Attributes:
        committed: shards that are now there because of this call.
        already: shards that were there, or that another writer committed first.
        bytes: of the data that were moved.
    """

    committed: int = 0
    already: int = 0
    bytes: int = 0


class Store:
    """A prefix of an object store.

    Args:
        url: ``s3://bucket/prefix``.

    Raises:
        CannotReach: a protocol without a conditional create, or one whose package is missing.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        protocol, found, _ = url.partition("://")
        if not found or protocol not in CONDITIONAL:
            raise CannotReach(url, f"known are {', '.join(f'{name}://' for name in CONDITIONAL)}")
        try:
            import fsspec

            self.files, self.root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError, OSError) as error:
            raise CannotReach(url, str(error)) from error

    def names(self, folder: str) -> list[str]:
        """Names directly in a folder, sorted; none if there is none."""
        try:
            found = self.files.ls(f"{self.root}/{folder}", detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted({path.rstrip("/").rsplit("/", 1)[1] for path in found} - {folder.rsplit("/", 1)[-1]})

    def read(self, path: str) -> bytes:
        """One object; raises FileNotFoundError."""
        return bytes(self.files.cat_file(f"{self.root}/{path}"))

    def create(self, path: str, data: bytes) -> bool:
        """The conditional PUT: True if the object now holds our bytes, also after a lost reply."""
        place = f"{self.root}/{path}"
        try:
            self.files.pipe_file(place, data, mode="create")
        except FileExistsError:
            return self.read(path) == data
        except OSError as error:
            if getattr(error, "errno", None) is None and "PreconditionFailed" not in str(error):
                raise
            return self.read(path) == data
        return True

    def replace(self, path: str, data: bytes) -> None:
        """An ordinary PUT."""
        self.files.pipe_file(f"{self.root}/{path}", data)

    def send(self, local: Path, path: str) -> None:
        """Uploads one file."""
        self.files.put_file(str(local), f"{self.root}/{path}")

    def fetch(self, path: str, local: Path) -> None:
        """Downloads one object."""
        self.files.get_file(f"{self.root}/{path}", str(local))

    def delete(self, paths: Sequence[str]) -> None:
        """Deletes objects; those that are gone are no error."""
        for path in paths:
            try:
                self.files.rm_file(f"{self.root}/{path}")
            except FileNotFoundError:
                continue


def push(cache: Path, url: str, progress: Progress | None = None) -> Moved:
    """Uploads what the store lacks: records first, then shard after shard, each visible only when it is whole.

    Any number of caches may push to one store at once. Killed, it is run again; what was half uploaded was never visible.

    Args:
        cache: local cache; only read.
        url: see `Store`.
        progress: called with (shards done, shards in all).

    Raises:
        SpecMismatch, RemoteConflict: the store's cache was made or planned differently.
    """
    opened, store, moved = open_cache(cache), Store(url), Moved()
    check(cache)
    _same(store, "format.json", seal(FORMAT))
    _send_withdrawn(opened, store)
    work: list[tuple[str, Path, Commit]] = []
    for info in opened.entries():
        base = f"entries/{info.address}"
        if not store.create(f"{base}/entry.json", (info.path / "entry.json").read_bytes()):
            _same_spec(_remote_spec(store, base), info.spec, store.url)
        ledger = Ledger(info.path, info.fingerprint)
        ledger.refresh()
        for number in sorted(ledger.plans):
            _same(store, f"{base}/plans/{number:04d}.json", (info.path / "plans" / f"{number:04d}.json").read_bytes())
        there = {
            (int(generation), name)
            for generation in store.names(f"{base}/commits")
            for name in store.names(f"{base}/commits/{generation}")
        }
        for key, commit in sorted(ledger.commits.items()):
            if (key[0], f"{key[1]:08d}-{commit.revision:04d}.json") in there:
                moved.already += 1
            elif commit.path is None or (info.path / "data" / commit.path).exists():
                work.append((base, info.path, commit))
    for number, (base, path, commit) in enumerate(work):
        _send_shard(store, base, path, commit, moved)
        if progress is not None:
            progress(number + 1, len(work))
    for name in opened.attachments():
        data = opened.attachment(name)
        for note in names(cache, "checksums", name):
            store.replace(f"checksums/{name}/{note}", b"")
        store.replace(f"attachments/{name}", data)
    return moved


def _send_shard(store: Store, base: str, entry: Path, commit: Commit, moved: Moved) -> None:
    names = [f"{base}/data/{name}" for name in commit.files]
    for name, remote in zip(commit.files, names, strict=True):
        store.send(inside(entry, f"data/{name}"), remote)
    record = commit_path(entry, commit.generation, commit.shard, commit.revision)
    if store.create(f"{base}/{record.relative_to(entry).as_posix()}", record.read_bytes()):
        moved.committed += 1
        moved.bytes += commit.size
    else:
        store.delete(names)
        moved.already += 1


def _send_withdrawn(cache: Cache, store: Store) -> None:
    for name in names(cache.path, "withdrawn"):
        if PLAN_NAME.fullmatch(name) or COPY_NAME.fullmatch(name):
            _same(store, f"withdrawn/{name}", (cache.path / "withdrawn" / name).read_bytes())


def pull(
    url: str, into: Path, *, addresses: Sequence[str] = (), records: bool = False, progress: Progress | None = None
) -> Moved:
    """Downloads entries (all by default) into a local mirror, or with ``records`` only what a writer needs to go on.

    Every file is compared with size and hash of its commit before it takes its name.

    Args:
        url: see `Store`.
        into: local cache; made if it is not there. What it holds already is not fetched again.
        addresses: which entries.
        records: no features: plans and commits only.
        progress: called with (shards done, shards in all).

    Raises:
        NotACache: no cache there.
        Damaged: an object is not what its record says.
        SpecMismatch, RemoteConflict: the local cache was made or planned differently.
    """
    store, moved = Store(url), Moved()
    try:
        found = unseal(store.read("format.json"), f"{store.url}/format.json")
    except FileNotFoundError as error:
        raise NotACache(store.url, "it has no format.json") from error
    if found.get("format") != "ser-cache":
        raise NotACache(store.url, "its format.json is of something else")
    known = tuple(store.names("entries"))
    if absent := [name for name in addresses if name not in known]:
        raise MissingEntry(store.url, absent[0], known)
    create_cache(into)
    check(into)
    _fetch_withdrawn(store, into)
    work: list[tuple[str, Path, str, bytes, Commit]] = []
    for address in addresses or known:
        work += _fetch_records(store, address, into)
    for number, (base, entry, name, data, commit) in enumerate(work):
        path = inside(entry, name)
        with writing(path):
            folder(entry, *name.split("/")[:-1])
        ours = path.read_bytes() if path.exists() else data  # another record: our own rows of a race that we lost
        if not records and commit.path is not None and ours == data:
            _fetch_data(store, base, entry, commit, moved)
        if path.exists() or not create_exclusive(path, data):
            moved.already += 1
        else:
            moved.committed += 1
        if progress is not None:
            progress(number + 1, len(work))
    for name in store.names("attachments"):
        if NAME.fullmatch(name):
            Cache(into).attach(name, store.read(f"attachments/{name}"))
    return moved


def _fetch_records(store: Store, address: str, into: Path) -> list[tuple[str, Path, str, bytes, Commit]]:
    """Entry and plans into the mirror; returns the commits, whose data come before their records."""
    base = f"entries/{address}"
    spec = _remote_spec(store, base)
    if spec.address != address:
        raise Damaged(f"{store.url}/{base}", f"its record is that of {spec.address}")
    # commits are listed before plans: whatever plan a commit is of, it was there before
    commits = [
        f"commits/{generation}/{name}"
        for generation in store.names(f"{base}/commits")
        for name in store.names(f"{base}/commits/{generation}")
        if generation.isdecimal() and COMMIT_NAME.fullmatch(name)
    ]
    with writing(into):
        entry = folder(into, "entries", address)
        folder(entry, "plans")
        folder(entry, "data")
    if not create_exclusive(entry / "entry.json", store.read(f"{base}/entry.json")):
        _same_spec(read_spec(entry), spec, store.url)
    for name in store.names(f"{base}/plans"):
        if PLAN_NAME.fullmatch(name):
            data = store.read(f"{base}/plans/{name}")
            path = entry / "plans" / name
            if not create_exclusive(path, data):
                _compare(path.read_bytes(), data, f"{base}/plans/{name}", store.url)
    found = []
    for name in commits:
        data = store.read(f"{base}/{name}")
        where = f"{store.url}/{base}/{name}"
        found.append((base, entry, name, data, Commit.from_record(unseal(data, where), where)))
    return found


def _fetch_data(store: Store, base: str, entry: Path, commit: Commit, moved: Moved) -> None:
    for name, (size, digest) in commit.files.items():
        target = inside(entry, f"data/{name}")
        if target.exists() and target.stat().st_size == size:
            continue
        with writing(target):
            folder(entry, "data", *name.split("/")[:-1])
            scratch = entry / "data" / f".{uuid.uuid4().hex}.tmp"
            try:
                store.fetch(f"{base}/data/{name}", scratch)
                if scratch.stat().st_size != size or hash_file(scratch) != digest:
                    raise Damaged(f"{store.url}/{base}/data/{name}", "it is not what its commit says")
                os.replace(scratch, target)
            except FileNotFoundError as error:
                raise Damaged(f"{store.url}/{base}/data/{name}", "it is gone") from error
            finally:
                scratch.unlink(missing_ok=True)
        moved.bytes += size
    path = entry / "data" / str(commit.path)
    sync_tree(path, files(path))


def _fetch_withdrawn(store: Store, into: Path) -> None:
    for name in store.names("withdrawn"):
        if PLAN_NAME.fullmatch(name) or COPY_NAME.fullmatch(name):
            data = store.read(f"withdrawn/{name}")
            with writing(into):
                folder(into, "withdrawn")
            path = into / "withdrawn" / name
            if not create_exclusive(path, data):
                _compare(path.read_bytes(), data, f"withdrawn/{name}", store.url)


def _same(store: Store, path: str, data: bytes) -> None:
    if not store.create(path, data):
        _compare(data, store.read(path), path, store.url)


def _compare(ours: bytes, theirs: bytes, path: str, url: str) -> None:
    """Raises RemoteConflict unless two records say the same; who wrote them, and by which command, does not matter."""

    def said(data: bytes) -> dict[str, Any]:
        return {
            name: value for name, value in unseal(data, path).items() if name not in ("token", "recipe", "xxh3_128")
        }

    if said(ours) != said(theirs):
        raise RemoteConflict(url, path)


def _remote_spec(store: Store, base: str) -> EntrySpec:
    where = f"{store.url}/{base}/entry.json"
    try:
        return EntrySpec.from_dict(unseal(store.read(f"{base}/entry.json"), where)["spec"])
    except FileNotFoundError as error:
        raise Damaged(where, "it is missing") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damaged(where, f"its spec is wrong ({error})") from error


def _same_spec(one: EntrySpec, other: EntrySpec, url: str) -> None:
    if one.fingerprint != other.fingerprint:
        error = SpecMismatch(one.address, differences(one.as_dict(), other.as_dict()))
        error.add_note(f"while comparing it with {url}")
        raise error
