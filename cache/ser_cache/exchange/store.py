"""An object store as a place for a cache, and whether its records and a local cache's agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_cache.errors import CacheError, Damaged, NotACache, SpecMismatch
from ser_cache.format.seal import EntryRecord, FormatRecord, record_of, unseal
from ser_cache.format.spec import EntrySpec, differences

CONDITIONAL = ("s3", "s3a", "memory")
"""Protocols whose exclusive create is atomic and tested here."""


class CannotReach(CacheError, OSError):
    """An object store that cannot be used."""

    url: str
    problem: str
    got = "{url} cannot be used as a cache: {problem}."
    next = (
        "Give s3://BUCKET/PREFIX with the usual AWS settings (AWS_PROFILE, AWS_ENDPOINT_URL, ...); S3 needs "
        'pip install "ser-fusion[s3]".'
    )


class Store:
    """A prefix of an object store.

    Args:
        url: ``s3://bucket/prefix``.

    Raises:
        CannotReach: a protocol without a conditional create, or one whose package is missing.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        protocol, separator, _ = url.partition("://")
        if not separator or protocol not in CONDITIONAL:
            raise CannotReach(url, f"known are {', '.join(f'{name}://' for name in CONDITIONAL)}")
        try:
            import fsspec

            self.files, self.root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError, OSError) as error:
            raise CannotReach(url, str(error)) from error

    def names(self, folder: str) -> list[str]:
        """Names directly in a folder, sorted; none if there is none."""
        try:
            paths = self.files.ls(f"{self.root}/{folder}", detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted({path.rstrip("/").rsplit("/", 1)[1] for path in paths} - {folder.rsplit("/", 1)[-1]})

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


Progress = Callable[[int, int], None]


class RemoteConflict(CacheError, ValueError):
    """The local cache and the one on the store were planned apart from each other."""

    url: str
    record: str
    got = "{url} and the local cache have different records {record}; nothing more was moved."
    next = "Pull the store into a new directory, merge the local cache into it (ser cache merge), and push the result."


class RemoteDamaged(Damaged):
    """An object on the store that is not what was pushed."""

    next = "Replace it with ser cache push CACHE URL --repair, from a cache that has a good copy."


@dataclass
class Moved:
    """What a push or a pull did.

    Attributes:
        committed: shards that are now there because of this call.
        already: shards that were there, or that another writer committed first.
        replaced: of the committed, those that took the place of a damaged one.
        bytes: of the data that were moved.
    """

    committed: int = 0
    already: int = 0
    replaced: int = 0
    bytes: int = 0


def check_format(store: Store) -> None:
    """Raises NotACache, RemoteDamaged or UnsupportedFormat unless there is a cache on the store."""
    where = f"{store.url}/format.json"
    try:
        record = record_of(FormatRecord, store.read("format.json"), where)
    except FileNotFoundError as error:
        raise NotACache(store.url, "it has no format.json") from error
    except Damaged as error:
        raise RemoteDamaged(where, error.problem) from error
    record.check_known(store.url)


def compare(ours: bytes, theirs: bytes, path: str, url: str) -> None:
    """Raises RemoteConflict unless two records say the same; who wrote them, and by which command, does not matter."""

    def said(data: bytes) -> dict[str, Any]:
        try:
            record = unseal(data, path)
        except Damaged as error:
            raise RemoteDamaged(f"{url}/{path}", error.problem) from error
        return {name: value for name, value in record.items() if name not in ("token", "recipe", "xxh3_128")}

    if said(ours) != said(theirs):
        raise RemoteConflict(url, path)


def remote_spec(store: Store, base: str) -> EntrySpec:
    """Spec of an entry on the store; raises RemoteDamaged."""
    where = f"{store.url}/{base}/entry.json"
    try:
        return record_of(EntryRecord, store.read(f"{base}/entry.json"), where).entry_spec(where)
    except FileNotFoundError as error:
        raise RemoteDamaged(where, "it is missing") from error
    except Damaged as error:
        raise RemoteDamaged(where, error.problem) from error


def same_spec(ours: EntrySpec, theirs: EntrySpec, url: str) -> None:
    """Raises SpecMismatch unless two entries are made from the same inputs."""
    if ours.fingerprint != theirs.fingerprint:
        error = SpecMismatch(ours.address, differences(ours.as_dict(), theirs.as_dict()))
        error.add_note(f"while comparing it with {url}")
        raise error
