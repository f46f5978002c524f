"""One HDF5 file per shard: contiguous, no filters. Fastest to write; for local disks.

Anything HDF5 could use to read another file (external storage, external and soft links, virtual data sets) is refused,
since h5py 3.16 follows them; shapes are compared with the commit record before anything is read.
"""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ser_cache.containers.base import Content, Expected, Written, ids_from_bytes, ids_to_bytes
from ser_cache.errors import Damaged, Unsafe

_NAMES = frozenset({"values", "offsets", "ids", "special"})


class Hdf5Shard:
    """One open file; the handle is opened for each call and closed again, so a fork cannot share it."""

    def __init__(self, path: Path, expected: Expected) -> None:
        self._path, self._expected = path, expected
        self._offset: int | None = None
        if expected.files.get(".") != path.stat().st_size:
            raise Damaged(str(path), f"it has {path.stat().st_size:,} bytes, the commit says {expected.files.get('.')}")
        with _opened(path) as file:
            self._check(file)

    def _check(self, file: h5py.File) -> None:
        wanted = {"values", "offsets", "ids"} | ({"special"} if self._expected.special else set())
        members = set()
        for name in file:
            if name not in _NAMES:
                raise Unsafe(f"{self._path}:{name[:80]!r}", "a shard has no such member")
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise Unsafe(f"{self._path}:{name}", "it is a soft or external link")
            members.add(name)
        if members != wanted:
            raise Damaged(str(self._path), f"it holds {sorted(members)}, expected {sorted(wanted)}")
        shapes = {
            "values": ((self._expected.frames, self._expected.features), self._expected.stored_dtype),
            "offsets": ((self._expected.rows + 1,), np.dtype("<i8")),
            "ids": (None, np.dtype("u1")),
            "special": ((self._expected.frames,), np.dtype("u1")),
        }
        for name in members:
            self._check_dataset(file, name, *shapes[name])
        self._offset = file["values"].id.get_offset()

    def _check_dataset(self, file: h5py.File, name: str, shape: tuple[int, ...] | None, dtype: np.dtype) -> None:
        where = f"{self._path}:{name}"
        if file.get(name, getclass=True) is not h5py.Dataset:
            raise Unsafe(where, "it is not a data set")
        dataset = file[name]
        plist = dataset.id.get_create_plist()
        if plist.get_external_count() or dataset.is_virtual:
            raise Unsafe(where, "its values lie in another file")
        if plist.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) or plist.get_nfilters():
            raise Unsafe(where, "its layout is not contiguous without filters")
        if dataset.dtype != dtype or (shape is not None and dataset.shape != shape) or dataset.ndim > 2:
            raise Unsafe(where, f"it declares {dataset.shape} {dataset.dtype}, the commit says {shape} {dtype}")
        stored = dataset.id.get_storage_size()
        if stored != dataset.size * dataset.dtype.itemsize or stored > self._expected.files["."]:
            raise Unsafe(where, f"it declares {dataset.size:,} values and stores {stored:,} bytes")

    def located(self) -> tuple[Path, int] | None:
        size = self._expected.frames * self._expected.features * self._expected.itemsize
        if self._offset is None or not size or self._offset + size > self._expected.files["."]:
            return None
        return self._path, self._offset

    def values(self, start: int, stop: int) -> NDArray[np.floating]:
        with _opened(self._path) as file:
            return np.asarray(file["values"][start:stop])

    def special(self) -> NDArray[np.bool_] | None:
        if not self._expected.special:
            return None
        with _opened(self._path) as file:
            return np.asarray(file["special"][:]).astype(np.bool_)

    def offsets(self) -> NDArray[np.int64]:
        with _opened(self._path) as file:
            return np.asarray(file["offsets"][:], dtype=np.int64)

    def ids(self) -> tuple[str, ...]:
        with _opened(self._path) as file:
            return ids_from_bytes(np.asarray(file["ids"][:]))


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)  # never modified, so no lock; file systems without locks are common
    except OSError:
        pass
    try:
        return h5py.File(path, "r")  # this process has it open with a lock, and HDF5 wants all openings alike
    except OSError as error:
        raise Damaged(str(path), f"HDF5 cannot open it ({error})") from error


class Hdf5Container:
    """The container ``hdf5``."""

    suffix = ".h5"

    def write(self, path: Path, content: Content) -> dict[str, str]:
        try:
            return self._write(path, content)
        except RuntimeError as error:  # how h5py reports a full disk when it closes
            raise OSError(f"HDF5 cannot write it ({error})") from error

    def _write(self, path: Path, content: Content) -> dict[str, str]:
        """HDF5 lays everything out and writes all but the frames; these follow by plain writes, four times as fast."""
        place = self._lay_out(path, content)
        if place is None:
            return {}
        with open(path, "r+b", buffering=0) as file:
            head = file.read(place)
            file.seek(place)
            written = Written(file)
            written.digest.update(head)
            written.rows(content)
            written.digest.update(file.read())
        with _opened(path) as file:
            if file["values"].id.get_offset() != place:
                raise OSError("HDF5 does not find the frames where it laid them out")
        return {".": written.digest.hexdigest()}

    def _lay_out(self, path: Path, content: Content) -> int | None:
        """Writes all but the frames; the byte at which they begin, None if there are none."""
        # pages of their own for the big array, so that a map of it starts on a page
        with h5py.File(path, "x", alignment_threshold=65_536, alignment_interval=4_096) as file:
            early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            early.set_layout(h5py.h5d.CONTIGUOUS)
            early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            early.set_obj_track_times(False)
            kind = h5py.h5t.py_create(content.dtype.newbyteorder("<"))
            values = h5py.h5d.create(file.id, b"values", kind, h5py.h5s.create_simple(content.shape), early)
            place = values.get_offset()
            file.create_dataset("offsets", data=content.offsets.astype("<i8"), track_times=False)
            file.create_dataset("ids", data=ids_to_bytes(content.ids), track_times=False)
            if content.special is not None:
                file.create_dataset("special", data=content.special.astype("u1"), track_times=False)
            for name, value in content.attributes.items():
                if value is not None:
                    file.attrs[name] = value
        if place is None and content.shape[0]:
            raise OSError("HDF5 did not allocate the frames")
        return place if content.shape[0] else None

    def open(self, path: Path, expected: Expected) -> Hdf5Shard:
        try:
            return Hdf5Shard(path, expected)
        except FileNotFoundError as error:
            raise Damaged(str(path), "the file is gone") from error
        except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, (Damaged, Unsafe)):
                raise
            raise Damaged(str(path), f"HDF5 cannot read it ({error})") from error
