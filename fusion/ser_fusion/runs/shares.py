"""Several processes on one run directory (``--part i/N``): one judge at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def judging(out: Path) -> Iterator[None]:
    """Waits while another share that ended at the same moment judges the run.

    Where a file system has no locks, two judges write the same results.
    """
    with locked(out / ".judging"):
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits while another process holds the lock of this file or folder; the lock goes with the process that holds it."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
