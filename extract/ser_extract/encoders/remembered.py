"""Hashes of weight files, remembered in the user's cache folder: gigabytes are read once and not at each command.

A hash counts as long as path, size, modification time, change time, device and inode are those it was made with. Whoever
writes to a file changes at least the change time, which no program can set. A file whose bytes changed otherwise, as on a
failing disk, is found by `--check` and `--rehash`, which read it again.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from ser_base.files import write_whole

NAME = "weight-hashes.json"
MOST = 500
"""Files that are remembered; the oldest go first."""
SETTLED = 2.0
"""Seconds since a file's last change from which on a further change has another time stamp on every file system."""


def file_hash(path: Path, *, again: bool = False) -> str:
    """xxh3-128 of a file, 32 hex digits: about 0.3 s per GB where it is read.

    Args:
        path: The file.
        again: Read it, whatever is remembered.
    """
    store = user_cache_path("ser-fusion") / NAME
    key, stamp = str(path.resolve()), _stamp(path)
    known = _read(store)
    if not again and known.get(key, [None])[0] == stamp:
        return str(known[key][1])
    digest = read_hash(path)
    if _stamp(path) == stamp and time.time() - max(stamp[1], stamp[2]) / 1e9 > SETTLED:
        known = _read(store)
        known.pop(key, None)
        known[key] = [stamp, digest]
        with suppress(OSError):  # a home that cannot be written: it is read again next time
            write_whole(store, json.dumps(dict(list(known.items())[-MOST:])).encode())
    return digest


def _stamp(path: Path) -> list[int]:
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_dev, found.st_ino]


def read_hash(path: Path) -> str:
    """xxh3-128 of a file as it is read now."""
    import xxhash

    digest = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while block := file.read(512 << 10):
            digest.update(block)
    return digest.hexdigest()


def _read(store: Path) -> dict[str, list[object]]:
    try:
        known = json.loads(store.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(known, dict) and all(isinstance(one, list) and len(one) == 2 for one in known.values())
    return known if whole else {}
