"""Deleting shards: the commit record first, durably, then the data; a kill in between leaves what gc removes."""

from pathlib import Path

from ser_cache.format.commit import Commit
from ser_cache.format.durable import sync_directory
from ser_cache.format.failpoints import failpoint
from ser_cache.format.tree import remove


def drop_commit(entry: Path, file: Path, commit: Commit, keep_data: bool = False) -> None:
    """Removes a commit record and then its data, unless another record needs them."""
    failpoint("commit.unlink.before")
    file.unlink(missing_ok=True)
    sync_directory(file.parent)
    failpoint("commit.unlink.after")
    if commit.path is not None and not keep_data:
        remove_data(entry / "data" / commit.path)


def remove_data(path: Path) -> None:
    """Deletes the data of one shard, a file or a folder; nothing happens if they are gone."""
    failpoint("data.remove.before")
    remove(path)
    failpoint("data.remove.after")
