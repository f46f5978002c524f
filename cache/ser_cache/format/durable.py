"""Files that are on the disk when the call returns, and records that are created by exactly one writer.

SIGKILL keeps the page cache, a power cut does not: file and directory are both synced before anything is acknowledged.
An error of write, fsync or close is never swallowed.

At a *failpoint* a test can kill the process, to prove that nothing is lost there. ``SER_FAILPOINT=17`` kills (SIGKILL) at the
17th place passed, ``SER_FAILPOINT=link.before`` at the first of that name, ``SER_FAILPOINT=data.write.after:3`` at its third.
A *fault* fails a system call: ``link=EPERM,rename=EINVAL`` every time, ``fsync=EIO:3`` the third fsync only; ``fsync=SIGINT`` is
Ctrl-C. Unset, a place costs one comparison.
"""

import contextlib
import ctypes
import errno
import functools
import itertools
import os
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ser_cache.errors import CacheError, CannotCommit, CannotWrite

_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_SYNC_FILE_RANGE_WRITE = 2
# what link() and renameat2() answer where the file system does not have them
_UNSUPPORTED = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EACCES}


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError of the block into CannotWrite, with the path and the reason."""
    try:
        yield
    except CacheError:
        raise
    except OSError as error:
        raise CannotWrite(str(path), error.strerror or str(error)) from error


def sync_directory(path: Path) -> None:
    """fsync of a directory: the names in it are on the disk."""
    failpoint("directory.fsync.before")
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fault("fsync")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    failpoint("directory.fsync.after")


def sync_file(path: Path) -> None:
    """fsync of a file's content."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fault("fsync")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_writeback(descriptor: int, start: int, stop: int) -> int:
    """Lets the disk begin with these bytes of a file, so that a later fsync waits less; returns ``stop``. Linux only."""
    with contextlib.suppress(AttributeError):
        size = ctypes.c_int64(stop - start)
        _libc().sync_file_range(descriptor, ctypes.c_int64(start), size, _SYNC_FILE_RANGE_WRITE)
    return stop


def sync_tree(path: Path, files: list[Path]) -> None:
    """fsync of every file, then of every directory up to ``path`` (a file or a directory) and the one that holds it.

    The files are synced side by side, which lets the file system put them into one journal commit.
    """
    failpoint("data.fsync.before")
    if len(files) == 1:
        sync_file(files[0])
    else:
        with ThreadPoolExecutor(min(16, len(files))) as pool:
            list(pool.map(sync_file, files))
    failpoint("data.fsync.after")
    if path.is_dir():
        directories = sorted({parent for file in files for parent in file.parents if parent.is_relative_to(path)})
        with ThreadPoolExecutor(min(16, len(directories))) as pool:
            list(pool.map(sync_directory, reversed(directories)))
    sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Creates a directory and its missing parents, each one durable."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        failpoint("mkdir.before")
        path.mkdir(mode=0o777)
    sync_directory(path.parent)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    with open(temporary, "xb") as file:
        failpoint("temporary.write.before")
        file.write(data)
        file.flush()
        failpoint("temporary.fsync.before")
        fault("fsync")
        os.fsync(file.fileno())
    failpoint("temporary.fsync.after")
    return temporary


def _rename_noreplace(source: Path, target: Path) -> None:
    fault("rename")
    libc = _libc()
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, "renameat2")
    if libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


def create_exclusive(path: Path, data: bytes) -> bool:
    """Creates ``path`` with ``data``, whole and durable, if nobody else did.

    Returns:
        True if ``path`` now holds our bytes (also after a lost reply, as NFS can give one), False if another writer's
        record is there. In both cases the record is durable.

    Raises:
        CannotCommit: the file system has no exclusive create that also is atomic.
        CannotWrite: disk full, read-only and the like.
    """
    with writing(path):
        temporary = _write_temporary(path, data)
        try:
            failpoint("link.before")
            try:
                fault("link")
                os.link(temporary, path)
                fault("link.answer")
                created = True
            except FileExistsError:
                created = False
            except OSError as first:
                if first.errno not in _UNSUPPORTED:
                    raise
                try:
                    _rename_noreplace(temporary, path)
                    created = True
                except FileExistsError:
                    created = False
                except OSError as second:
                    if second.errno not in _UNSUPPORTED:
                        raise
                    raise CannotCommit(str(path), f"link: {first.strerror}; renameat2: {second.strerror}") from second
            failpoint("link.after")
            # our bytes under the final name mean that our own call did it, whatever it answered: records are unique
            created = created or path.read_bytes() == data
            sync_directory(path.parent)
        finally:
            failpoint("temporary.unlink.before")
            temporary.unlink(missing_ok=True)
    failpoint("temporary.unlink.after")
    return created


def replace_file(path: Path, data: bytes) -> None:
    """Writes ``path`` so that a reader sees the old bytes or the new ones, never a mixture; durable on return."""
    with writing(path):
        temporary = _write_temporary(path, data)
        try:
            failpoint("rename.before")
            os.replace(temporary, path)
            failpoint("rename.after")
            sync_directory(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


_name, _target = "", 0
_faults: dict[str, tuple[str, int, Iterator[int]]] = {}  # call -> error, which call (0: each), calls counted
passed: list[str] = []  # names of the places passed since `arm`, kept only while armed


def arm(wanted: str) -> None:
    """Sets what ``SER_FAILPOINT`` sets; ``count`` only counts, an empty text disarms."""
    global _name, _target
    passed.clear()
    _faults.clear()
    _name, _, count = ("" if "=" in wanted else wanted).partition(":")
    _target = int(_name) if _name.isdigit() else int(count or 1)
    for part in wanted.split(",") if "=" in wanted else ():
        call, _, text = part.partition("=")
        error, _, number = text.partition(":")
        _faults[call] = (error, int(number or 0), itertools.count(1))


def failpoint(name: str) -> None:
    """Dies here if the environment asks for it."""
    if not _name:
        return
    passed.append(name)
    number = len(passed) if _name.isdigit() else passed.count(name)
    if (_name.isdigit() or _name == name) and number == _target:
        os.kill(os.getpid(), signal.SIGKILL)


def fault(call: str) -> None:
    """Raises the error that the environment asks for, in the place of a system call or of its answer."""
    if call not in _faults:
        return
    error, wanted, calls = _faults[call]
    if next(calls) == wanted or not wanted:
        if error == "SIGINT":
            raise KeyboardInterrupt
        code = getattr(errno, error)
        raise OSError(code, os.strerror(code))


arm(os.environ.get("SER_FAILPOINT", ""))
