"""Several processes on one run directory (``--jobs i/N``): files that are replaced at once, and one judge at a time."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name of our own to write to, which then replaces ``path`` at once."""
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def judging(out: Path) -> Iterator[None]:
    """Waits while another share that ended at the same moment judges the run.

    Where a file system has no locks, two judges write the same results.
    """
    with locked(out / ".judging"):
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits while another process holds this file's lock; the lock goes with the process that holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
