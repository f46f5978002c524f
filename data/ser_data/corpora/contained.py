"""Paths that come out of somebody else's archive must stay inside it."""

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from ser_data.errors import CorpusError


class PathEscapes(CorpusError, ValueError):
    """An archive names a file outside of itself."""

    root: str
    name: str
    why: str
    got = "'{name}' is not taken: {why}."
    next = "An archive may only name files inside {root}."


def contained(root: Path, name: str) -> Path:
    """`root/name`, if it is a relative path without `..` whose target, links followed, lies under `root`.

    Args:
        root: The archive's folder.
        name: A file's name as the archive gives it, with `/` or backslashes.

    Raises:
        PathEscapes: Absolute, with a drive, with `..`, or a link that leads out.
    """
    windows = PureWindowsPath(name)
    plain = windows.as_posix() if "\\" in name else name
    if not name or "\0" in name:
        raise PathEscapes(str(root), name, "it is no path")
    if windows.drive or windows.root or PurePosixPath(plain).is_absolute():
        raise PathEscapes(str(root), name, "it is absolute")
    if ".." in PurePosixPath(plain).parts:
        raise PathEscapes(str(root), name, "it has '..'")
    base = os.path.realpath(root)
    target = os.path.realpath(os.path.join(base, plain))
    if os.path.commonpath([base, target]) != base:
        raise PathEscapes(str(root), name, f"it is a link to {target}")
    return Path(root, plain)
