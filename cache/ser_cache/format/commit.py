"""Commit records: a shard exists if and only if its commit record does."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ser_cache.errors import Damaged, Unsafe
from ser_cache.format.layout import DATA_NAME
from ser_cache.format.seal import CommitRecord, checked, read_sealed, seal
from ser_cache.format.spec import EntrySpec
from ser_cache.items import Failure

_FILE_NAME = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


@dataclass(frozen=True)
class Commit:
    """What one shard holds, and how to notice that it no longer does.

    Attributes:
        generation, shard: the planned shard it fulfils.
        revision: 0, or higher after rows were withdrawn; the highest one counts.
        fingerprint: of the spec the rows were made with.
        container: name of the container, None if the shard has no rows at all (every utterance failed).
        path: name of the data in ``data/``, None like the container.
        dtype, features: of ``values``.
        ids, input_hashes, frames, crc32c: one per row, in the order of the rows; the CRC is that of the row's bytes in
            memory.
        special_crc32c: CRC of the mask of special tokens (one byte a frame), None where the shard has none.
        files: relative to ``data/``: (bytes, xxh3-128).
        failures: id -> (failure, input hash).
        left_out: planned ids this shard was committed without: superseded, withdrawn, or not wanted by its writer.
        environment: what may differ between equal rows: versions, device, threads, batch size, time.
        recipe: command that made it, or None.
    """

    generation: int
    shard: int
    revision: int
    fingerprint: str
    container: str | None
    path: str | None
    dtype: str
    features: int
    ids: tuple[str, ...]
    input_hashes: tuple[str, ...]
    frames: tuple[int, ...]
    crc32c: tuple[int, ...]
    special_crc32c: int | None
    files: Mapping[str, tuple[int, str]]
    failures: Mapping[str, tuple[Failure, str]]
    left_out: tuple[str, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)
    recipe: str | None = None

    @property
    def total(self) -> int:
        """Frames of all rows."""
        return sum(self.frames)

    @property
    def size(self) -> int:
        """Bytes of the data on disk."""
        return sum(size for size, _ in self.files.values())

    def check_fits(self, spec: EntrySpec, where: str) -> None:
        """Raises Damaged if the rows are not of the spec's dtype and width."""
        if (self.dtype, self.features, self.fingerprint) != (spec.dtype, spec.features, spec.fingerprint):
            raise Damaged(
                where, f"it holds {self.dtype} frames of {self.features:,}, the entry {spec.dtype} of {spec.features:,}"
            )

    def sealed(self) -> bytes:
        """The record as it is written."""
        return seal(
            {
                "kind": "commit",
                "generation": self.generation,
                "shard": self.shard,
                "revision": self.revision,
                "fingerprint": self.fingerprint,
                "container": self.container,
                "path": self.path,
                "dtype": self.dtype,
                "features": self.features,
                "ids": self.ids,
                "input_hashes": self.input_hashes,
                "frames": self.frames,
                "crc32c": self.crc32c,
                "special_crc32c": self.special_crc32c,
                "files": self.files,
                "failures": {
                    name: {"reason": failure.reason, "detail": failure.detail, "input_hash": input_hash}
                    for name, (failure, input_hash) in self.failures.items()
                },
                "left_out": self.left_out,
                "environment": dict(self.environment),
                "recipe": self.recipe,
            }
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any], where: str) -> Self:
        """Checks a record field by field; raises Damaged or Unsafe."""
        found = checked(CommitRecord, record, where)
        commit = cls(
            generation=found.generation,
            shard=found.shard,
            revision=found.revision,
            fingerprint=found.fingerprint,
            container=found.container,
            path=found.path,
            dtype=found.dtype,
            features=found.features,
            ids=tuple(found.ids),
            input_hashes=tuple(found.input_hashes),
            frames=tuple(found.frames),
            crc32c=tuple(found.crc32c),
            special_crc32c=found.special_crc32c,
            files=found.files,
            failures={
                name: (Failure(each.reason, each.detail), each.input_hash) for name, each in found.failures.items()
            },
            left_out=tuple(found.left_out),
            environment=found.environment,
            recipe=found.recipe,
        )
        commit._check(where)
        return commit

    def _check(self, where: str) -> None:
        rows = len(self.ids)
        if not rows == len(self.input_hashes) == len(self.frames) == len(self.crc32c) == len(set(self.ids)):
            raise Damaged(where, "its lists of rows have different lengths, or an id twice")
        if (self.path is None) != (self.container is None):
            raise Damaged(where, "it names a container without data, or data without a container")
        if self.path is None:
            if rows or self.files:
                raise Damaged(where, "it has rows and no data")
            return
        if not DATA_NAME.fullmatch(self.path):
            raise Unsafe(where, f"its data path {self.path!r} leaves the cache")
        held = 0
        for name, (size, _) in self.files.items():
            inside = name == self.path or name.startswith(self.path + "/")
            if not inside or not _FILE_NAME.fullmatch(name) or ".." in name:
                raise Unsafe(where, f"the file {name!r} is not part of its data")
            held += size
        itemsize = 2 if self.dtype == "float16" else 4
        if self.total * self.features * itemsize > held:
            raise Unsafe(
                where, f"it declares {self.total:,} frames of {self.features:,} values in {held:,} bytes of files"
            )


def read_commit(path: Path, generation: int, shard: int, revision: int) -> Commit:
    """Reads one commit record; raises Damaged where it is not what its name says."""
    record = read_sealed(path)
    found = tuple(record.get(name) for name in ("kind", "generation", "shard", "revision"))
    if found != ("commit", generation, shard, revision):
        raise Damaged(str(path), f"it is the record of {found}")
    return Commit.from_record(record, str(path))
