"""Where things lie in a cache, and the check that they do lie in it.

```
CACHE/format.json  attachments/NAME  checksums/NAME/HASH-SIZE  withdrawn/0001.json|.copy
CACHE/entries/ADDRESS/entry.json  plans/0001.json  commits/0001/00000012-0000.json
                      data/0001-00000012-UUID.zarr|.h5  quarantine/
```
"""

import os
import re
import stat
import uuid
from pathlib import Path

from ser_cache.errors import Damaged, Unsafe

DATA_NAME = re.compile(r"[0-9]{4,9}-[0-9]{8}-[0-9a-f]{32}\.(?:zarr|h5)")
PLAN_NAME = re.compile(r"([0-9]{4,9})\.json")
COMMIT_NAME = re.compile(r"([0-9]{8})-([0-9]{4})\.json")
GENERATION_NAME = re.compile(r"[0-9]{4,9}")
TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{32}\.tmp")


def plan_path(entry: Path, generation: int) -> Path:
    return entry / "plans" / f"{generation:04d}.json"


def commit_path(entry: Path, generation: int, shard: int, revision: int) -> Path:
    return entry / "commits" / f"{generation:04d}" / f"{shard:08d}-{revision:04d}.json"


def new_data_name(generation: int, shard: int, suffix: str) -> str:
    """A name that no other writer can choose."""
    return f"{generation:04d}-{shard:08d}-{uuid.uuid4().hex}{suffix}"


def check_inside(root: Path, relative: str) -> Path:
    """``root / relative`` if it stays inside ``root`` and no component is a symbolic link.

    Raises:
        Unsafe: an absolute path, ``..``, a NUL, or a link on the way.
    """
    parts = relative.split("/")
    if not relative or "\0" in relative or "\\" in relative or any(part in ("", ".", "..") for part in parts):
        raise Unsafe(f"{root}/{relative!r}", "the path leaves the cache")
    path = root
    for part in parts:
        path = path / part
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(mode):
            raise Unsafe(str(path), "it is a symbolic link")
    return path


def regular_files(path: Path) -> list[Path]:
    """Every file of a data container (a file or a directory), sorted; anything but files and directories is refused."""
    mode = os.lstat(path).st_mode
    if stat.S_ISREG(mode):
        return [path]
    if not stat.S_ISDIR(mode):
        raise Unsafe(str(path), "it is neither a file nor a directory")
    found: list[Path] = []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if entry.is_symlink():
                raise Unsafe(entry.path, "it is a symbolic link")
            found += regular_files(Path(entry.path))
    return found


def numbered(directory: Path, pattern: re.Pattern[str]) -> list[str]:
    """Names in ``directory`` that fit ``pattern``, sorted; none if it does not exist."""
    if directory.is_symlink():
        raise Unsafe(str(directory), "it is a symbolic link")
    try:
        return sorted(name for name in os.listdir(directory) if pattern.fullmatch(name))
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise Damaged(str(directory), "it is no directory") from error
