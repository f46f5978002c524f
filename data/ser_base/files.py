"""Files and folders that appear at once and whole, and what a killed writer leaves of them.

What is being written lies in a hidden folder of its own beside the target, ``.NAME.TOKEN.part``. The folder holds the file or
folder under its final name, and a file that the writer keeps locked. The lock ends with the process, however that ends, so
whoever finds the lock free knows that the writer is dead. A half-written file never matches the pattern that finds the target.
"""

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LOCK = ".writer"
UNLOCKED_HOURS = 24.0
"""Age at which a leftover without a lock counts as dead: its file system has no locks, or an older version wrote it."""

_OURS = re.compile(r"\..+\.[0-9a-f]{32}\.part")
_OLDER = re.compile(r"\..+?(?:\.(\d{1,10}))?\.part")  # of older versions, in folders where nobody else writes


def safe_name(slug: str) -> str:
    """A slug as a file name: no separators, no leading dot."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", slug).strip(".-") or "table"


@contextmanager
def private(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` that is ours alone while the block runs, and is removed at its end.

    Leftovers of dead writers beside ``path`` are removed as well.
    """
    sweep(path.parent)
    folder, descriptor = _locked_folder(path)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write a file or folder to. Where the block succeeds, it replaces ``path`` at once.

    Where the block raises, ``path`` stays as it was.
    """
    with private(path) as folder:
        new = folder / path.name
        yield new
        if new.is_dir() and path.is_dir():  # a folder that is not empty cannot be replaced in one step
            path.rename(folder / ".old")
        new.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file that replaces ``path`` at once."""
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits while another process holds the lock of this file or folder; the lock goes with the process that holds it.

    A file that is missing is made. Where a file system has no locks, nobody waits.
    """
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Writes a small file so that it is under its name whole or not at all; cheaper than `replacing`, and without a lock.

    What a killed writer leaves is removed by a later `sweep` of the folder, a day after.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name[:150]}.{uuid.uuid4().hex}.part")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def sweep(root: Path, *, deep: bool = False) -> int:
    """Removes what dead writers left in a folder. What a live writer has is not touched.

    Args:
        root: The folder; it may be missing.
        deep: Also the folders below, and names of older versions: for folders in which only we write.

    Returns:
        How many leftovers were removed.
    """
    removed = 0
    for folder, folders, files in os.walk(root):
        leftovers = [name for name in (*folders, *files) if (_OLDER if deep else _OURS).fullmatch(name)]
        folders[:] = [name for name in folders if deep and name not in leftovers]
        removed += sum(remove_if_dead(Path(folder, name)) for name in leftovers)
    return removed


def _locked_folder(path: Path) -> tuple[Path, int]:
    while True:
        folder = path.with_name(f".{path.name[:150]}.{uuid.uuid4().hex}.part")
        folder.mkdir()
        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue
        with suppress(FileNotFoundError):  # a sweep may come before the lock: once more then
            if _lock(descriptor) is not False and os.stat(folder / LOCK).st_ino == os.fstat(descriptor).st_ino:
                return folder, descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Takes the lock without waiting: True if it is ours, False if another has it, None where there are no locks."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def remove_if_dead(path: Path) -> bool:
    """Removes a file or folder that a writer left, if the writer is dead; whether it is gone.

    Where no lock says so, it counts as dead after ``UNLOCKED_HOURS``.
    """
    descriptor = None
    with suppress(OSError):
        descriptor = os.open(path / LOCK, os.O_RDWR)
    try:
        free = None if descriptor is None else _lock(descriptor)
        if free is False or (free is None and not _looks_dead(path)):
            return False
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        return not os.path.lexists(path)
    except OSError:  # another process removes it at this moment, or it is not ours to remove
        return False
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _looks_dead(path: Path) -> bool:
    """Without a lock: the process that it names is gone from this machine, or nothing was written for long."""
    named = _OLDER.fullmatch(path.name)
    if named and named[1] and Path("/proc/self").exists():
        return not Path("/proc", named[1]).exists()
    newest = max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
    return newest < time.time() - UNLOCKED_HOURS * 3600
