"""A cache: a directory of entries, and what is attached to them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from ser_cache.containers.base import check_container
from ser_cache.entry import Entry
from ser_cache.errors import (
    AmbiguousEntry,
    Damaged,
    MissingAttachment,
    MissingEntry,
    NotACache,
    SpecMismatch,
    WrongRows,
)
from ser_cache.format.durable import create_exclusive, make_directory, replace_file, writing
from ser_cache.format.layout import ADDRESS, FORMAT_NAME, PLAN_NAME, TEMPORARY_NAME, folder, inside, names
from ser_cache.format.log import WITNESSES, born, lost, read_withdrawn, record_withdrawal
from ser_cache.format.seal import LIMIT, EntryRecord, FormatRecord, read_bytes, read_record, seal
from ser_cache.format.spec import SCHEMA, EntrySpec, differences
from ser_cache.writer import Writer

ATTACHMENT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
FORMAT = {"kind": "format", "format": FORMAT_NAME, "version": SCHEMA, "witnesses": True}


def note(data: bytes) -> str:
    """Name of the empty file, ``checksums/NAME/HASH-SIZE``, that says that an attachment was given this content."""
    return f"{xxhash.xxh3_128(data).hexdigest()}-{len(data)}"


@dataclass(frozen=True)
class EntryInfo:
    """One line of a listing: what an entry is, without opening its rows."""

    spec: EntrySpec
    path: Path

    @property
    def address(self) -> str:
        """Directory name."""
        return self.path.name

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the declared inputs."""
        return self.spec.fingerprint


class Cache:
    """A cache on disk. Made by `open_cache` and `create_cache`.

    Attributes:
        path: as given.
        verify_reads: whether each utterance is compared with its checksum when it is first read.
    """

    def __init__(self, path: Path, verify_reads: bool = True) -> None:
        self.path, self.verify_reads = path, verify_reads

    def __repr__(self) -> str:
        return f"Cache({str(self.path)!r})"

    def entry_paths(self) -> list[Path]:
        """Folders of the entries, sorted; a link among them is refused, names that no entry can have are ignored."""
        return [inside(self.path, f"entries/{name}") for name in names(self.path, "entries", like=ADDRESS)]

    def entries(self) -> tuple[EntryInfo, ...]:
        """Every entry, sorted by address; raises Damaged if one is lost."""
        for address in lost(self.path):
            raise Damaged(f"{self.path}/entries/{address}", "the whole entry is gone, and its witness is there")
        return tuple(EntryInfo(read_spec(path), path) for path in self.entry_paths() if _begun(path))

    def select(
        self,
        modality: str | None = None,
        encoder: str | None = None,
        layer: int | None = None,
        dtype: str | None = None,
    ) -> Entry:
        """The one entry that fits; what is not given fits everything.

        Raises:
            AmbiguousEntry: several fit; they are listed, never is one chosen.
            MissingEntry: none fits.
        """
        asked = {"modality": modality, "encoder": encoder, "layer": layer, "dtype": dtype}
        criteria = {name: value for name, value in asked.items() if value is not None}
        infos = self.entries()
        fitting = [info for info in infos if all(getattr(info.spec, name) == value for name, value in criteria.items())]
        words = ", ".join(f"{name}={value}" for name, value in criteria.items()) or "(anything)"
        if len(fitting) > 1:
            raise AmbiguousEntry(str(self.path), words, tuple(info.address for info in fitting))
        if not fitting:
            raise MissingEntry(str(self.path), words, tuple(info.address for info in infos))
        return self.open(fitting[0])

    def open(self, info: EntryInfo) -> Entry:
        """Opens one entry of a listing."""
        return Entry(info.path, info.spec, self.withdrawn(), self.verify_reads)

    def withdrawn(self) -> frozenset[str]:
        """Ids that were withdrawn, for every entry."""
        return read_withdrawn(self.path)

    def withdraw(self, ids: Any) -> None:
        """Hides these utterances at once and for ever; `ser_cache.maintenance.remove` also takes their bytes away."""
        record_withdrawal(self.path, ids, "withdraw")

    def admit(self, ids: Any) -> None:
        """Takes a withdrawal back: the utterances are computed by the next run."""
        record_withdrawal(self.path, ids, "admit")

    def attach(self, name: str, data: bytes) -> None:
        """Creates or replaces an attachment: a small file that travels with the cache, opaque to it.

        A reader sees the old bytes or the new ones. Durable on return.
        """
        if not ATTACHMENT_NAME.fullmatch(name):
            raise WrongRows(f"attachment {name!r}", "give a plain file name of letters, digits, '.', '_' and '-'")
        if len(data) > LIMIT:
            raise WrongRows(f"attachment {name!r}", f"it has {len(data):,} bytes, more than {LIMIT:,}")
        with writing(self.path / "attachments" / name):
            notes = folder(self.path, "checksums", name)
            folder(self.path, "attachments")
        create_exclusive(notes / note(data), b"")
        replace_file(inside(self.path, f"attachments/{name}"), data)

    def attachment(self, name: str) -> bytes:
        """Bytes of an attachment; raises MissingAttachment, or Damaged where its hash was never noted."""
        if name not in self.attachments():
            raise MissingAttachment(str(self.path), name, self.attachments())
        data = read_bytes(inside(self.path, f"attachments/{name}"))
        if note(data) not in names(self.path, "checksums", name):
            raise Damaged(f"{self.path}/attachments/{name}", "its checksum was never noted")
        return data

    def attachments(self) -> tuple[str, ...]:
        """Names of the attachments."""
        return tuple(names(self.path, "attachments", like=ATTACHMENT_NAME))

    def writer(
        self, spec: EntrySpec, container: str = "zarr", replace: bool = False, recipe: str | None = None
    ) -> Writer:
        """A writer for the entry of this spec, which is created if it is not there.

        Args:
            spec: what will be written.
            container: ``zarr`` or ``hdf5``, for new shards.
            replace: if the entry was made from other declared inputs, begin it again; its old rows are hidden at once
                and deleted by ``ser cache gc``.
            recipe: command that makes these rows, kept for ``ser cache verify --repair``.

        Raises:
            SpecMismatch: other declared inputs, and no ``replace``; it names the fields.
        """
        check_container(container)
        with writing(self.path):
            path = folder(self.path, "entries", spec.address)
        record = inside(path, "entry.json")
        data = seal({"kind": "entry", "fingerprint": spec.fingerprint, "spec": spec.as_dict()})
        if not record.exists():
            create_exclusive(record, data)
        stored = read_spec(path)
        if stored.fingerprint != spec.fingerprint:
            if not replace:
                raise SpecMismatch(spec.address, differences(stored.as_dict(), spec.as_dict()))
            replace_file(record, data)
        with writing(path):
            born(self.path, spec.address)
        return Writer(path, spec, container, recipe, self.withdrawn)


def read_spec(path: Path) -> EntrySpec:
    """Spec of the entry in a directory; raises Damaged where it does not belong there."""
    where = f"{path}/entry.json"
    try:
        spec = read_record(EntryRecord, path / "entry.json", 1 << 24).entry_spec(where)
    except FileNotFoundError as error:
        raise Damaged(where, "it is missing") from error
    if spec.address != path.name:
        raise Damaged(where, f"it is the record of {spec.address}")
    return spec


def _begun(path: Path) -> bool:
    """Whether a directory is an entry, and not one that a writer is just creating."""
    return "entry.json" in names(path) or bool(names(path, "plans", like=PLAN_NAME))


def check_format(path: Path) -> bool:
    """Whether a cache promises a witness for each record; those of the first release have none.

    Raises:
        NotACache, Damaged, UnsupportedFormat: ``format.json`` is none that is known.
    """
    if not path.is_dir():
        raise NotACache(str(path), "it is a file" if path.exists() else "the directory does not exist")
    try:
        record = read_record(FormatRecord, path / "format.json", 1 << 16)
    except FileNotFoundError as error:
        if "entries" in names(path):
            raise Damaged(f"{path}/format.json", "it is missing") from error
        raise NotACache(str(path), "it has no format.json") from error
    record.check_known(str(path))
    return record.witnesses


def open_cache(path: str | os.PathLike[str], verify_reads: bool = True) -> Cache:
    """Opens a cache for reading; writes nothing, works on read-only media.

    Args:
        path: directory of the cache.
        verify_reads: compare each utterance with its crc32c when it is first read.

    Examples:
        >>> from ser_cache import open_cache
        >>> cache = open_cache("cache")
        >>> for info in cache.entries():
        ...     print(info.spec.modality, info.spec.layer)
        audio 1
        audio 2
        text 2
        >>> entry = cache.select(modality="text", layer=2)
        >>> entry["u00"].shape  # (frames, features)
        (8, 32)
    """
    root = Path(path)
    check_format(root)
    return Cache(root, verify_reads)


def create_cache(path: str | os.PathLike[str], verify_reads: bool = True) -> Cache:
    """Opens a cache for writing; makes it if the directory is missing or empty.

    Examples:
        >>> from ser_cache import EntrySpec, create_cache
        >>> spec = EntrySpec(modality="audio", encoder="energy", layer=0, dtype="float32", features=2)
        >>> writer = create_cache("own").writer(spec, container="zarr")
        >>> writer.spec.features
        2
    """
    root = Path(path)
    with writing(root):
        make_directory(root.absolute())
        if not (root / "format.json").exists():
            others = [name for name in names(root) if not TEMPORARY_NAME.fullmatch(name)]
            if others and not (root / "format.json").exists():  # asked again: another process may be making this cache
                if "entries" in others:
                    check_format(root)
                raise NotACache(str(root), f"it has other files ({others[0]!r}) and no format.json")
            create_exclusive(root / "format.json", seal(FORMAT))
        check_format(root)
        folder(root, "entries")
        folder(root, WITNESSES)
    return Cache(root, verify_reads)
