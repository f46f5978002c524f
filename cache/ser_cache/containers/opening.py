"""Opens the data of one commit: checks first, then the fastest way that is proven right."""

import mmap
import os
from pathlib import Path
from typing import Any, Protocol

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ser_cache.containers import container
from ser_cache.containers.base import Expected, OpenShard
from ser_cache.errors import Damaged, Unsafe
from ser_cache.format.commit import Commit
from ser_cache.format.tree import files, inside


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
        found = {str(file.relative_to(path.parent)): file.stat().st_size for file in files(path)}
    except FileNotFoundError as error:
        raise Damaged(str(path), "it is gone") from error
    for name, (size, _) in commit.files.items():
        if found.get(name) != size:
            has = "is gone" if name not in found else f"has {found[name]:,} bytes, {size:,} were written"
            raise Damaged(str(path.parent / name), f"it {has}")
    if extra := sorted(set(found) - set(commit.files)):
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
    size = commit.total * commit.features * (2 if commit.dtype == "float16" else 4)
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
