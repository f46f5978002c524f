"""Features for other people's tools: NumPy archives or one HDF5 file, written row by row in bounded memory.

What was computed goes with them: the entry's spec as JSON, in each file.
"""

import csv
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.lib import format as npy

from ser_base.files import replacing
from ser_base.safe_text import cell
from ser_cache.catalog import EntryInfo, open_cache
from ser_cache.entry import Entry
from ser_cache.errors import CacheError, MissingEntry
from ser_cache.format.durable import writing
from ser_cache.items import offsets_of

Progress = Callable[[int, int], None]
STEP = 4096
"""Rows of ids written to HDF5 at once."""


class TargetExists(CacheError, FileExistsError):
    """An export would overwrite something, or is finished already."""

    path: str
    got = "{path} exists already, and an export overwrites nothing."
    next = "Give another --to."


def export(
    cache: Path, to: Path, form: str = "npz", addresses: Sequence[str] = (), progress: Progress | None = None
) -> tuple[Path, ...]:
    """Exports entries (all by default); returns what was written.

    Args:
        cache: the cache.
        to: folder (``npz``, ``npz-each``) or file (``hdf5``). Entries that a killed export of the same rows finished are
            kept; anything else of the same name is refused.
        form: ``npz``: one ADDRESS.npz per entry with ``values (frames, features)``, ``offsets (rows + 1,)``, ``ids``,
            ``special`` where there is a mask, and ``spec``. ``npz-each``: a folder per entry with one file per utterance
            (``values``, ``special``), ``index.csv`` (id, file, frames) and ``spec.json``. ``hdf5``: one file, a group per
            entry with the members of ``npz``; values keep their dtype.
        addresses: which entries.
        progress: called with (rows done, rows in all).

    Raises:
        TargetExists: other content has the name, or every entry is there already; nothing is overwritten.
        MissingEntry: an address is not in the cache.
    """
    opened = open_cache(cache)
    infos = opened.entries()
    unknown = [each for each in addresses if each not in {info.address for info in infos}]
    if unknown or not infos:
        raise MissingEntry(str(cache), unknown[0] if unknown else "an export", tuple(info.address for info in infos))
    chosen = [opened.open(info) for info in _chosen(infos, addresses)]
    total = sum(len(entry) for entry in chosen)
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    with writing(to):
        if form == "hdf5":
            return (_hdf5(chosen, to, tick),)
        to.mkdir(parents=True, exist_ok=True)
        write, end = (_npz, ".npz") if form == "npz" else (_npz_each, "")
        paths = {to / f"{entry.address}{end}": entry for entry in chosen}
        there = [path for path in paths if os.path.lexists(path)]
        for path in there:
            if len(there) == len(paths) or not _is_export(path, paths[path]):
                raise TargetExists(str(path))
        for path, entry in paths.items():
            if path in there:
                tick(len(entry))
            else:
                write(entry, path, tick)
        return tuple(paths)


def _chosen(infos: Sequence[EntryInfo], addresses: Sequence[str]) -> list[EntryInfo]:
    return [info for info in infos if not addresses or info.address in addresses]


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A name that becomes ``path`` at the end, so that a killed export leaves no half file; refuses to replace one."""
    if os.path.lexists(path):
        raise TargetExists(str(path))
    with replacing(path) as scratch:
        yield scratch


def _spec(entry: Entry) -> str:
    """What the rows were computed from, and a digest of which rows they are."""
    rows = [[name, entry.input_hashes[name], entry.frames(name)] for name in entry.ids]
    digest = xxhash.xxh3_128(json.dumps(rows).encode()).hexdigest()
    return json.dumps({**entry.spec.as_dict(), "fingerprint": entry.fingerprint, "rows": digest}, indent=1)


def _is_export(path: Path, entry: Entry) -> bool:
    """Whether a finished export of just these rows has this name."""
    try:
        if path.is_dir():
            return (path / "spec.json").read_text("utf-8") == _spec(entry) + "\n"
        with np.load(path, allow_pickle=False) as archive:
            return bool(str(archive["spec"]) == _spec(entry))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def _masks(entry: Entry) -> bool:
    return any(entry.special(name) is not None for name in entry.ids)


def _mask(entry: Entry, name: str) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    mask = entry.special(name)
    return np.zeros(entry.frames(name), np.bool_) if mask is None else mask


def _npz(entry: Entry, path: Path, tick: Callable[[int], None]) -> None:
    with _appearing(path) as scratch, zipfile.ZipFile(scratch, "x", allowZip64=True) as archive:
        with archive.open("values.npy", "w", force_zip64=True) as member:
            shape = (entry.total_frames, entry.spec.features)
            npy.write_array_header_1_0(
                member, {"descr": npy.dtype_to_descr(entry.dtype), "fortran_order": False, "shape": shape}
            )
            for name in entry.ids:
                member.write(entry[name].tobytes())
                tick(1)
        members: dict[str, Any] = {"offsets": offsets_of(entry.lengths()), "ids": np.array(entry.ids, dtype=np.str_)}
        members["spec"] = np.array(_spec(entry))
        if _masks(entry):
            members["special"] = np.concatenate([_mask(entry, name) for name in entry.ids])
        for name, array in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


def _npz_each(entry: Entry, path: Path, tick: Callable[[int], None]) -> None:
    with _appearing(path) as scratch:
        scratch.mkdir()
        _npz_files(entry, scratch, tick)


def _npz_files(entry: Entry, folder: Path, tick: Callable[[int], None]) -> None:
    with open(folder / "index.csv", "x", newline="", encoding="utf-8") as file:
        index = csv.writer(file)
        index.writerow(["id", "file", "frames"])
        for name, stem in _stems(entry.ids):
            arrays: dict[str, Any] = {"values": entry[name]} | (
                {"special": _mask(entry, name)} if entry.special(name) is not None else {}
            )
            with open(folder / f"{stem}.npz", "xb") as member:
                np.savez(member, **arrays)
            index.writerow([cell(name), f"{stem}.npz", entry.frames(name)])
            tick(1)
    (folder / "spec.json").write_text(_spec(entry) + "\n", encoding="utf-8")


def _stems(ids: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(id, file name without its end), each name once, also where a file system does not tell capital letters.

    An id that is a plain file name keeps it; of others the letters that may stand are kept, and 128 bits of hash follow.
    """
    taken: set[str] = set()
    for name in ids:
        stem = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip(".-")[:80]
        if stem != name:
            stem += f"-{xxhash.xxh3_128(name.encode('utf-8', 'surrogatepass')).hexdigest()}"
        while stem.casefold() in taken:
            stem += "-again"
        taken.add(stem.casefold())
        yield name, stem


def _hdf5(entries: Sequence[Entry], path: Path, tick: Callable[[int], None]) -> Path:
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with _appearing(path) as scratch, h5py.File(scratch, "x") as file:
        for entry in entries:
            group = file.create_group(entry.address)
            group.attrs["spec"] = _spec(entry)
            values = group.create_dataset("values", (entry.total_frames, entry.spec.features), entry.dtype)
            offsets = offsets_of(entry.lengths())
            group.create_dataset("offsets", data=offsets)
            ids = group.create_dataset("ids", (len(entry),), h5py.string_dtype())
            for start in range(0, len(entry), STEP):
                ids[start : start + STEP] = list(entry.ids[start : start + STEP])
            special = group.create_dataset("special", (entry.total_frames,), np.bool_) if _masks(entry) else None
            for number, name in enumerate(entry.ids):
                rows = slice(int(offsets[number]), int(offsets[number + 1]))
                values[rows] = entry[name]
                if special is not None:
                    special[rows] = _mask(entry, name)
                tick(1)
    return path
