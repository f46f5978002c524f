"""Sums over whole files: the hash of a file, and the CRCs of the rows in it, in one pass."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import google_crc32c
import numpy as np
import xxhash

BLOCK = 512 << 10  # bytes that are read at once: still in a core's own cache when the sums are taken


def hash_file(path: Path) -> str:
    """xxh3-128 of a file, 32 hex digits; read in blocks of 512 kB."""
    return hash_rows(path, 0, ())[0]


def hash_rows(path: Path, start: int, sizes: Iterable[int]) -> tuple[str, list[int]]:
    """xxh3-128 of a file, and CRC-32C of each of the rows that lie in it one behind the other; the file is read once.

    Args:
        path: the file.
        start: byte at which the first row begins.
        sizes: bytes of each row.
    """
    digest, crcs = xxhash.xxh3_128(), []
    buffer = np.empty(BLOCK, np.uint8)
    with open(path, "rb", buffering=0) as file:
        for rows in _groups(start, sizes):
            size = sum(rows) if rows is not None else BLOCK
            buffer = buffer if size <= len(buffer) else np.empty(size, np.uint8)
            got = 0
            while got < size and (count := file.readinto(buffer[got:size])):  # type: ignore[arg-type]
                got += count
            digest.update(buffer[:got].data)
            at = 0
            for row in rows or ():
                crcs.append(google_crc32c.value(buffer[at : min(at + row, got)]))
                at += row
            if rows is None and got < size:
                break
    return digest.hexdigest(), crcs[1:]


def _groups(start: int, sizes: Iterable[int]) -> Iterator[list[int] | None]:
    """Sizes of parts that are read together, about a block each; what is before the rows is the first, then None for ever."""
    group, held = [start], start
    for size in sizes:
        if held + size > BLOCK and group:
            yield group
            group, held = [], 0
        group.append(size)
        held += size
    yield group
    while True:
        yield None
