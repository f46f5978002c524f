"""The write protocol of one shard.

1. The data under a unique name. While they are written, from memory: crc32c of every row, and xxh3-128 of the file that holds
the rows. 2. fsync of every file and directory. 3. The commit record, with size and xxh3-128 of every file; it is created
exclusively, and whoever is second deletes its own data. Nothing is visible before step 3, and nothing is acknowledged before
its record is on the disk. Deleting goes the other way: the record first, durably, then the data; a kill in between leaves
what gc removes.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ser_cache.containers.base import Container, Content, container
from ser_cache.format.commit import Commit, RecordedFailure
from ser_cache.format.durable import create_exclusive, failpoint, sync_directory, sync_tree, writing
from ser_cache.format.layout import commit_path, folder, new_data_name, remove, sizes
from ser_cache.format.ledger import Key
from ser_cache.format.seal import hash_file
from ser_cache.format.spec import EntrySpec
from ser_cache.items import Outcome, Row, offsets_of


def write_commit(
    entry: Path,
    spec: EntrySpec,
    container_name: str,
    key: Key,
    revision: int,
    rows: Sequence[Row],
    hashes: Mapping[str, str],
    failures: Mapping[str, RecordedFailure],
    left_out: Iterable[str],
    environment: Mapping[str, Any],
    recipe: str | None,
) -> Outcome:
    """Writes one shard: all of it, durably, or nothing that a reader could see."""
    store = container(container_name)
    lengths = [len(row.values) for row in rows]
    arrays = [np.ascontiguousarray(row.values) for row in rows]
    offsets = offsets_of(np.array(lengths, dtype=np.int64))
    special = _special(rows)
    name: str | None = None
    files: dict[str, tuple[int, str]] = {}
    crcs: list[int] = []
    commits = commit_path(entry, *key, revision)
    with writing(entry):
        folder(entry, "commits", commits.parent.name)
        folder(entry, "data")
        if rows:
            name = new_data_name(*key, store.suffix)
            content = Content(arrays, offsets, tuple(row.id for row in rows), special, _attributes(spec))
            files = _write_data(store, entry / "data" / name, content)
            crcs = content.crcs or [google_crc32c.value(array) for array in arrays]
        failpoint("commit.before")
        commit = Commit(
            generation=key[0],
            shard=key[1],
            revision=revision,
            fingerprint=spec.fingerprint,
            container=container_name if rows else None,
            path=name,
            dtype=spec.dtype,  # type: ignore[arg-type]  # the spec has checked it
            features=int(spec.features),
            ids=[row.id for row in rows],
            input_hashes=[hashes[row.id] for row in rows],
            frames=lengths,
            crc32c=crcs,
            special_crc32c=None if special is None else google_crc32c.value(special.astype(np.uint8)),
            files=files,
            failures=dict(failures),
            left_out=list(left_out),
            environment=dict(environment),
            recipe=recipe,
        )
        created = False
        try:
            created = create_exclusive(commits, commit.sealed())
        finally:
            # lost the race, or failed before the record was there: our data go; after a doubtful failure they stay
            if not created and name is not None and not _names(commits, name):
                remove_data(entry / "data" / name)
        failpoint("commit.after")
        return "committed" if created else "already"


def _attributes(spec: EntrySpec) -> dict[str, Any]:
    """Facts for people who open a container without us."""
    return {
        "modality": spec.modality,
        "encoder": spec.encoder,
        "layer": spec.layer,
        "frame_rate": spec.frame_rate,
        "fingerprint": spec.fingerprint,
    }


def _write_data(store: Container, path: Path, content: Content) -> dict[str, tuple[int, str]]:
    """Writes and syncs the data; returns size and hash of each file.

    Nothing stays behind if that fails, as when the disk is full.
    """
    try:
        failpoint("data.write.before")
        hashes = store.write(path, content)
        failpoint("data.write.after")
        written = sizes(path)
        sync_tree(path, [path.parent / name for name in written])
        prefix = len(path.name) + 1
        return {
            name: (size, hashes.get(name[prefix:] or ".") or hash_file(path.parent / name))
            for name, size in written.items()
        }
    except BaseException:
        with contextlib.suppress(OSError):
            remove_data(path)
        raise


def _names(record: Path, name: str) -> bool:
    """Whether the record on disk names our data; if it cannot be read, it may."""
    try:
        return name.encode() in record.read_bytes()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _special(rows: Sequence[Row]) -> NDArray[np.bool_] | None:
    if all(row.special is None for row in rows):
        return None
    parts = [np.zeros(len(row.values), np.bool_) if row.special is None else row.special for row in rows]
    return np.concatenate(parts).astype(np.bool_)


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
