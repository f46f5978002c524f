"""The hash of a whole file."""

from pathlib import Path

import xxhash


def hash_file(path: Path) -> str:
    """xxh3-128 of a file, 32 hex digits; read in blocks of 4 MB."""
    digest = xxhash.xxh3_128()
    buffer = bytearray(4 << 20)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()
