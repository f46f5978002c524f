"""The contract of a container, and how the data of a commit are opened.

A container holds one shard of ragged rows in a file or folder that other people's tools open. Opening checks first, then takes
the fastest way that is proven right.
"""

import json
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

import google_crc32c
import numpy as np
import xxhash
from numpy.typing import NDArray

from ser_cache.containers import CONTAINERS
from ser_cache.errors import Damaged, UnknownContainer, Unsafe
from ser_cache.format.commit import Commit
from ser_cache.format.durable import begin_writeback
from ser_cache.format.layout import inside, sizes

AHEAD = 8 << 20  # bytes after which the disk begins to write


@dataclass(frozen=True)
class Content:
    """What a shard holds.

    Attributes:
        rows: ``(frames, features)`` float16 or float32 each, C order; at least one.
        offsets: ``(rows + 1,)`` int64.
        ids: one per row.
        special: ``(frames,)`` bool, or None.
        attributes: facts for people who open the container without us: modality, encoder, layer, frame rate.
        crcs: CRC-32C of each row's little-endian bytes, once `Written.rows` has written them.
    """

    rows: Sequence[NDArray[np.floating]]
    offsets: NDArray[np.int64]
    ids: tuple[str, ...]
    special: NDArray[np.bool_] | None
    attributes: Mapping[str, Any]
    crcs: list[int] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        """Frames of all rows, features."""
        return int(self.offsets[-1]), self.rows[0].shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of all rows."""
        return self.rows[0].dtype


@dataclass(frozen=True)
class Expected:
    """What the commit record says about a shard; a container that declares anything else is not opened.

    Attributes:
        rows, frames, features: shape of what is held.
        dtype: ``float16`` or ``float32``.
        special: whether there is a mask of special tokens.
        files: relative to the container's own path (``.`` for a file): bytes.
    """

    rows: int
    frames: int
    features: int
    dtype: str
    special: bool
    files: Mapping[str, int]

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return 2 if self.dtype == "float16" else 4

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The dtype on disk, little endian."""
        return np.dtype(self.dtype).newbyteorder("<")


class OpenShard(Protocol):
    """A shard whose metadata was checked against what is expected."""

    def located(self) -> tuple[Path, int] | None:
        """File and byte offset of ``values`` if its own index proves that they lie there in one piece in row order.

        Else None.
        """
        ...

    def values(self, start: int, stop: int) -> NDArray[np.floating]:
        """Frames ``start`` to ``stop`` through the container's library."""
        ...

    def special(self) -> NDArray[np.bool_] | None:
        """Mask of special tokens ``(frames,)``, or None."""
        ...

    def offsets(self) -> NDArray[np.int64]:
        """``(rows + 1,)``."""
        ...

    def ids(self) -> tuple[str, ...]:
        """One per row."""
        ...


class Container(Protocol):
    """Writes and opens shards."""

    suffix: str

    def write(self, path: Path, content: Content) -> dict[str, str]:
        """Creates ``path`` (which must not exist) and closes it; syncing is the caller's.

        Returns:
            xxh3-128 of the files that were hashed as they were written, relative to ``path`` (``.`` for a file).
        """
        ...

    def open(self, path: Path, expected: Expected) -> OpenShard:
        """Opens for reading; raises Damaged or Unsafe where the container does not hold what is expected."""
        ...


class Written:
    """Bytes that go to a file one behind the other, and into its hash while they are in the processor's cache.

    Args:
        file: unbuffered, at the byte where they begin.
    """

    def __init__(self, file: FileIO) -> None:
        self._file, self._begun, self._end = file, file.tell(), file.tell()
        self.digest = xxhash.xxh3_128()

    def add(self, array: NDArray[Any]) -> None:
        """Writes an array as it is. Raw writes may be short: 2 GB at a time, or when the disk fills."""
        left = array.reshape(-1).view(np.uint8).data
        self.digest.update(left)
        while left:
            count = self._file.write(left)
            left, self._end = left[count:], self._end + count
        if self._end - self._begun >= AHEAD:
            self._begun = begin_writeback(self._file.fileno(), self._begun, self._end)

    def rows(self, content: Content) -> None:
        """Writes all rows, little endian, and notes their checksums."""
        for row in content.rows:
            stored = row.astype(row.dtype.newbyteorder("<"), copy=False)
            content.crcs.append(google_crc32c.value(stored))
            self.add(stored)


def check_container(name: str, where: str = "--container") -> None:
    """Raises UnknownContainer where there is none of this name; loads nothing."""
    if name not in CONTAINERS:
        raise UnknownContainer(name, tuple(CONTAINERS), where)


def container(name: str, where: str = "--container") -> Container:
    """The container of this name; its library is imported only now."""
    check_container(name, where)
    made: Container = CONTAINERS[name]()
    return made


def ids_to_bytes(ids: tuple[str, ...]) -> NDArray[np.uint8]:
    """Ids as one array of UTF-8 JSON; lone surrogates stay escaped."""
    return np.frombuffer(json.dumps(ids, ensure_ascii=True).encode(), dtype=np.uint8)


def ids_from_bytes(data: NDArray[np.uint8]) -> tuple[str, ...]:
    """The inverse of `ids_to_bytes`."""
    return tuple(str(each) for each in json.loads(data.tobytes()))


class Frames(Protocol):
    """Frames of a shard: an array in mapped memory, or something that reads slices through a library."""

    def __getitem__(self, rows: slice, /) -> NDArray[np.floating]: ...


class _LibraryFrames:
    """Reads through the container's library: the fallback where the data are not proven to lie in one piece."""

    def __init__(self, shard: OpenShard) -> None:
        self._shard = shard

    def __getitem__(self, rows: slice) -> NDArray[np.floating]:
        return self._shard.values(rows.start, rows.stop)


def open_data(entry: Path, commit: Commit) -> OpenShard:
    """Opens the container of a commit after checking paths, links and the size of every file."""
    if commit.path is None or commit.container is None:
        raise Damaged(f"{entry}/commits/{commit.generation:04d}/{commit.shard:08d}", "it has no data")
    path = inside(entry, f"data/{commit.path}")
    try:
        sizes_now = sizes(path)
    except FileNotFoundError as error:
        raise Damaged(str(path), "it is gone") from error
    for name, (size, _) in commit.files.items():
        if sizes_now.get(name) != size:
            has = "is gone" if name not in sizes_now else f"has {sizes_now[name]:,} bytes, {size:,} were written"
            raise Damaged(str(path.parent / name), f"it {has}")
    if extra := sorted(set(sizes_now) - set(commit.files)):
        raise Damaged(str(path.parent / extra[0]), "it is not part of what was written")
    prefix = len(commit.path) + 1
    expected = Expected(
        rows=len(commit.ids),
        frames=commit.total,
        features=commit.features,
        dtype=commit.dtype,
        special=commit.special_crc32c is not None,
        files={name[prefix:] or ".": size for name, (size, _) in commit.files.items()},
    )
    return container(commit.container, str(path)).open(path, expected)


def map_frames(shard: OpenShard, commit: Commit) -> tuple[Frames, bool]:
    """``values`` of a shard, ``(frames, features)``, and whether they are mapped."""
    place = shard.located()
    if place is None:
        return _LibraryFrames(shard), False
    path, offset = place
    size = commit.total * commit.features * commit.itemsize
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_size < offset + size:
            raise Unsafe(str(path), "it is shorter than its index says")
        # plain mmap and frombuffer: slicing an np.memmap costs several times as much
        mapped = mmap.mmap(descriptor, offset + size, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
    values: NDArray[Any] = np.frombuffer(mapped, dtype=np.dtype(commit.dtype).newbyteorder("<"), offset=offset)
    return values.reshape(commit.total, commit.features), True


def read_special(shard: OpenShard, commit: Commit, entry: Path) -> NDArray[np.bool_] | None:
    """Mask of special tokens of a whole shard, checked."""
    mask = shard.special()
    if mask is not None and google_crc32c.value(mask.astype(np.uint8)) != commit.special_crc32c:
        raise Damaged(f"{entry}/data/{commit.path}", "the checksum of its mask of special tokens does not fit")
    return mask
