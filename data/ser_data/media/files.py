"""A file as a decoder may see it: regular, not empty, not too large; and the hash of its bytes."""

import os
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from ser_data.manifest.text import alike

Refuse = Callable[[str, str, str], Exception]
"""`(path, reason, detail)` -> the error to raise: `AudioError`, `VideoError`."""


def regular(path: str | Path, most: int, refuse: Refuse) -> os.stat_result:
    """The file's stat; a pipe or a device would hang the reader.

    Args:
        path: The file.
        most: Largest file, in bytes.
        refuse: Makes the error, with the reason `missing`, `unreadable`, `empty` or `limits`.
    """
    name = str(path)
    try:
        facts = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise refuse(name, "missing", "") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise refuse(name, "unreadable", sentence(error)) from error
    if not stat.S_ISREG(facts.st_mode):
        raise refuse(name, "unreadable", "not a regular file")
    if not facts.st_size:
        raise refuse(name, "empty", "0 bytes")
    if facts.st_size > most:
        raise refuse(name, "limits", f"{facts.st_size:,} bytes, at most {most:,}")
    return facts


def content_hash(path: str | Path, refuse: Refuse) -> str:
    """xxh3-128 of the file's bytes, 32 hex digits."""
    import xxhash

    digest = xxhash.xxh3_128()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise refuse(str(path), "unreadable", error.strerror or "") from error
    return digest.hexdigest()


def known_hash(path: str | Path, facts: os.stat_result, refuse: Refuse) -> str:
    """The same, remembered as long as the file looks unchanged: thousands of spans may lie in one long file."""
    return _remembered(str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino, refuse)


@lru_cache(maxsize=4096)
def _remembered(path: str, size: int, changed: int, inode: int, refuse: Refuse) -> str:
    return content_hash(path, refuse)


def missing_told(path: str | Path) -> str:
    """A path that is not there, with what is there under nearly that name: another ending, case, or Unicode form."""
    path = Path(path)
    place = next((folder for folder in path.parents if folder.is_dir()), None)
    if place is None:
        return str(path)
    wanted = path.relative_to(place).parts[0]
    there = _listed(str(place))
    near = [name for name in there if alike((name, wanted))]
    if wanted == path.name:
        near = near or [name for name in there if alike((Path(name).stem, path.stem)) or Path(name).stem == path.stem]
    return f"{path}; there is {' and '.join(repr(str(place / name)) for name in near[:3])}" if near else str(path)


@lru_cache(maxsize=64)
def _listed(folder: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(folder)))
    except OSError:
        return ()


def sentence(error: BaseException) -> str:
    """The last clause of a library's message: without the path that the caller prints anyway."""
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")[:200]
