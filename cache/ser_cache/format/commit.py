"""Commit records: a shard exists if and only if its commit record does."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ser_cache.errors import Damaged, Unsafe
from ser_cache.format.layout import DATA_NAME
from ser_cache.format.seal import Count, Hash, Parallel, Record, Sized, Sum, Tree, read_record, seal
from ser_cache.format.spec import EntrySpec
from ser_cache.items import Failure

_FILE_NAME = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class RecordedFailure(Record):
    """Why an utterance has no row, and the hash of the input that failed."""

    reason: str
    detail: str
    input_hash: str

    @property
    def failure(self) -> Failure:
        """Without the hash."""
        return Failure(self.reason, self.detail)


class Commit(Record):
    """What one shard holds, and how to notice that it no longer does; in the order of the members on disk.

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
        failures: id -> what failed.
        left_out: planned ids this shard was committed without: superseded, withdrawn, or not wanted by its writer.
        environment: what may differ between equal rows: versions, device, threads, batch size, time.
        recipe: command that made it, or None.
    """

    kind: Literal["commit"] = "commit"
    generation: Count
    shard: Count
    revision: Count
    fingerprint: Hash
    container: str | None
    path: str | None
    dtype: Literal["float16", "float32"]
    features: Annotated[int, Field(ge=1, lt=2**24)]
    ids: Parallel[str]
    input_hashes: Parallel[str]
    frames: Parallel[Count]
    crc32c: Parallel[Sum]
    special_crc32c: Sum | None
    files: dict[str, Sized]
    failures: dict[str, RecordedFailure]
    left_out: Parallel[str]
    environment: Tree
    recipe: str | None

    @property
    def total(self) -> int:
        """Frames of all rows."""
        return sum(self.frames)

    @property
    def size(self) -> int:
        """Bytes of the data on disk."""
        return sum(size for size, _ in self.files.values())

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return 2 if self.dtype == "float16" else 4

    def check_fits(self, spec: EntrySpec, where: str) -> None:
        """Raises Damaged if the rows are not of the spec's dtype and width."""
        if (self.dtype, self.features, self.fingerprint) != (spec.dtype, spec.features, spec.fingerprint):
            raise Damaged(
                where, f"it holds {self.dtype} frames of {self.features:,}, the entry {spec.dtype} of {spec.features:,}"
            )

    def sealed(self) -> bytes:
        """The record as it is written."""
        return seal(self.model_dump(warnings=False))

    def check(self, where: str) -> None:
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
        for name in self.files:
            inside = name == self.path or name.startswith(self.path + "/")
            if not inside or not _FILE_NAME.fullmatch(name) or ".." in name:
                raise Unsafe(where, f"the file {name!r} is not part of its data")
        if self.total * self.features * self.itemsize > self.size:
            raise Unsafe(
                where, f"it declares {self.total:,} frames of {self.features:,} values in {self.size:,} bytes of files"
            )


def read_commit(path: Path, generation: int, shard: int, revision: int) -> Commit:
    """Reads one commit record; raises Damaged where it is not what its name says."""
    commit = read_record(Commit, path)
    named = (commit.generation, commit.shard, commit.revision)
    if named != (generation, shard, revision):
        raise Damaged(str(path), f"it is the record of {named}")
    return commit
