"""Where things lie in a cache, what they are called, and the one way into its folders.

```
CACHE/format.json  attachments/NAME  checksums/NAME/HASH-SIZE  withdrawn/0001.json|.copy
CACHE/witnesses/entries/0001-made|removed-ADDRESS  witnesses/withdrawn/0001.json
CACHE/entries/ADDRESS/entry.json  plans/0001.json|.copy  witnesses/plans/0001.json
                      commits/0001/00000012-0000.json  data/0001-00000012-UUID.zarr|.h5  quarantine/
```

Whatever lists, reads, moves or deletes comes through here. No link is followed below the cache's own folder, and nothing that is
not a file or a folder is opened. Each folder is opened by its name in the one before (``openat`` with ``O_NOFOLLOW``), so a link
anywhere on the way is refused. An *anchor* is the cache's own folder, which may be reached through a link, or an entry that was
listed from it.
"""

import contextlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from ser_cache.errors import Damaged, Unsafe
from ser_cache.format.durable import failpoint, sync_directory

FORMAT_NAME = "ser-cache"  # of format.json, in every cache
ADDRESS = re.compile(r"[a-z][a-z0-9_]*-.+-L[0-9]+-float(?:16|32)")
DATA_NAME = re.compile(r"[0-9]{4,9}-[0-9]{8}-[0-9a-f]{32}\.(?:zarr|h5)")
PLAN_NAME = re.compile(r"([0-9]{4,9})\.json")
COMMIT_NAME = re.compile(r"([0-9]{8})-([0-9]{4})\.json")
GENERATION_NAME = re.compile(r"[0-9]{4,9}")
REMOVED_NAME = re.compile(r"\.removed-[0-9a-f]{32}")
TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{32}\.tmp")


def commit_path(entry: Path, generation: int, shard: int, revision: int) -> Path:
    return Path(f"{entry}/commits/{generation:04d}/{shard:08d}-{revision:04d}.json")


def new_data_name(generation: int, shard: int, suffix: str) -> str:
    """A name that no other writer can choose."""
    return f"{generation:04d}-{shard:08d}-{uuid.uuid4().hex}{suffix}"


LINK = "it is a symbolic link"
NO_FILE = "it is neither a file nor a folder"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def names(anchor: Path, *parts: str, like: re.Pattern[str] | None = None) -> list[str]:
    """Names in the folder ``anchor/parts`` (those that fit ``like``), sorted; none if there is no such folder.

    Raises:
        Unsafe: a link on the way.
        Damaged: something on the way is not a folder.
    """
    path, descriptor = anchor, -1
    try:
        descriptor = os.open(anchor, _FOLDER)
        for part in parts:
            path = path / part
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        listed = os.listdir(descriptor)
    except FileNotFoundError:
        return []
    except OSError as error:
        if path.is_symlink():
            raise Unsafe(str(path), LINK) from error
        raise Damaged(str(path), f"it cannot be listed ({error.strerror})") from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return sorted(listed if like is None else filter(like.fullmatch, listed))


def inside(anchor: Path, relative: str) -> Path:
    """``anchor / relative`` if it stays inside and no part of it is a link; it need not exist.

    Raises:
        Unsafe: an absolute path, ``..``, a NUL, or a link on the way.
    """
    parts = relative.split("/")
    if not relative or "\0" in relative or "\\" in relative or any(part in ("", ".", "..") for part in parts):
        raise Unsafe(f"{anchor}/{relative!r}", "the path leaves the cache")
    path = anchor
    for part in parts:
        path = path / part
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISLNK(mode):
            raise Unsafe(str(path), LINK)
    return path


def folder(anchor: Path, *parts: str) -> Path:
    """The folder ``anchor/parts``, made durably where it is missing; raises Unsafe where a link is in its place."""
    path = anchor
    for part in parts:
        path = path / part
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                failpoint("mkdir.before")
                path.mkdir(mode=0o777)
            sync_directory(path.parent)
            mode = os.lstat(path).st_mode
        if not stat.S_ISDIR(mode):
            raise Unsafe(str(path), LINK if stat.S_ISLNK(mode) else "it is not a folder")
    return path


def sizes(path: Path) -> dict[str, int]:
    """Bytes of every file of a file or folder, sorted; names are relative to the folder that holds ``path``.

    Raises:
        Unsafe: there is anything but files and folders.
    """
    status = os.lstat(path)
    if stat.S_ISREG(status.st_mode):
        return {path.name: status.st_size}
    if not stat.S_ISDIR(status.st_mode):
        raise Unsafe(str(path), LINK if stat.S_ISLNK(status.st_mode) else NO_FILE)
    held: dict[str, int] = {}

    def walk(place: str, name: str) -> None:
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=attrgetter("name")):
                if entry.is_dir(follow_symlinks=False):
                    walk(entry.path, f"{name}/{entry.name}")
                elif entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):  # a writer's temporary file
                        held[f"{name}/{entry.name}"] = entry.stat(follow_symlinks=False).st_size
                else:
                    raise Unsafe(entry.path, LINK if entry.is_symlink() else NO_FILE)

    walk(str(path), path.name)
    return held


def files(path: Path) -> list[Path]:
    """Every file of a file or folder, sorted; raises as `sizes`."""
    return [path.parent / name for name in sizes(path)]


def strangers(path: Path) -> Iterator[tuple[Path, str]]:
    """(path, problem) of everything below a folder that is neither a file nor a folder: links, pipes, devices."""
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if entry.is_dir(follow_symlinks=False):
                yield from strangers(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                yield Path(entry.path), LINK if entry.is_symlink() else NO_FILE


def check(root: Path) -> None:
    """Raises Unsafe if there is a link anywhere in a cache: what moves or deletes asks this before it begins."""
    for path, problem in strangers(root):
        raise Unsafe(str(path), problem)


def size(path: Path) -> int:
    """Bytes of a file or of all files of a folder; 0 if it is missing or goes away meanwhile."""
    try:
        return sum(sizes(path).values())
    except FileNotFoundError:
        return 0


def newest(path: Path) -> float:
    """Time of the last change in a file or folder, seconds since 1970; 0 if it is missing."""
    times = [0.0]
    with contextlib.suppress(FileNotFoundError):
        for file in (path, *files(path)):
            times.append(os.lstat(file).st_mtime)
    return max(times)


def remove(path: Path) -> None:
    """Deletes a file or a folder, a link itself and not what it points to; nothing happens if it is gone."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)  # by descriptors: it follows no link
    else:
        path.unlink(missing_ok=True)


def move(path: Path, into: Path, name: str) -> None:
    """Renames within a cache, durably; nothing happens if ``path`` is gone. ``into`` is a folder that was made here."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, into / name)
        sync_directory(path.parent)
    if into != path.parent:
        sync_directory(into)


def aside(path: Path, mark: str) -> Path:
    """A name beside ``path`` that nothing else has and readers ignore, ``.MARK-UUID``."""
    return path.with_name(f".{mark}-{uuid.uuid4().hex}")
