"""Other people's features into a cache, through the ordinary writer.

Their provenance is declared as what it is: ``imported: true``, so such an entry never has the fingerprint of one that
ser-extract computed, and never mixes with it. The input hash of a row is the hash of the values themselves, so a second
import replaces exactly what has changed.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash
from numpy.typing import NDArray

from ser_cache.catalog import create_cache
from ser_cache.errors import CacheError
from ser_cache.format.spec import EntrySpec
from ser_cache.items import Failure, Item, Row

Array = NDArray[Any]
LazyArrays = Iterator[tuple[str, Callable[[], Array]]]
LIMIT = 1 << 31
"""Bytes of one utterance; more is a broken header."""


class CannotImport(CacheError, ValueError):
    """A file that is not what its format asks for."""

    path: str
    problem: str
    got = "{path} cannot be imported: {problem}."
    known = (
        "Three formats can be imported. npy: a folder of .npy files. kaldi: a Kaldi .scp or binary .ark. h5: an .h5 file "
        "with one data set per utterance, or a folder of such files."
    )
    next = "Correct the file, or name its format with --format."


def read_npy(source: Path) -> LazyArrays:
    """A folder of ``.npy`` files; the id is the path below the folder without the suffix."""
    paths = sorted(source.rglob("*.npy")) if source.is_dir() else []
    if not paths:
        raise CannotImport(str(source), "it is not a folder with .npy files")
    for path in paths:
        yield path.relative_to(source).with_suffix("").as_posix(), partial(_npy, path)


def _npy(path: Path) -> Array:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise CannotImport(str(path), f"NumPy cannot read it ({error})") from error


def read_h5(source: Path) -> LazyArrays:
    """One HDF5 file with a data set per utterance (its path is the id), or a folder of files with one data set each."""
    if not source.is_dir():
        for name in _datasets(source):
            yield name, partial(_dataset, source, name)
        return
    paths = sorted(path for path in source.rglob("*") if path.suffix in (".h5", ".hdf5"))
    if not paths:
        raise CannotImport(str(source), "it is not a folder with .h5 files")
    for path in paths:
        names = _datasets(path)
        if len(names) != 1:
            raise CannotImport(str(path), f"it has {len(names)} data sets, a file in a folder has one")
        yield path.relative_to(source).with_suffix("").as_posix(), partial(_dataset, path, names[0])


def _datasets(path: Path) -> list[str]:
    """Paths of all data sets of a file, checked."""
    import h5py

    def walk(group: Any, prefix: str) -> Iterator[str]:
        for name in sorted(group):
            where = f"{path}:{prefix}{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise CannotImport(where, "it is a soft or external link")
            member = group[name]
            if isinstance(member, h5py.Group):
                yield from walk(member, f"{prefix}{name}/")
                continue
            if member.is_virtual or member.external:
                raise CannotImport(where, "its values lie in another file")
            if member.size * member.dtype.itemsize > LIMIT:
                raise CannotImport(where, f"it declares {member.shape} values")
            yield prefix + name

    try:
        with h5py.File(path, "r") as file:
            return list(walk(file, ""))
    except CannotImport:
        raise
    except (OSError, RuntimeError) as error:
        raise CannotImport(str(path), f"HDF5 cannot read it ({error})") from error


def _dataset(path: Path, name: str) -> Array:
    import h5py

    with h5py.File(path, "r") as file:
        return np.asarray(file[name][()])


def read_kaldi(source: Path) -> LazyArrays:
    """Kaldi's binary float or double matrices and vectors, from an ``.scp`` (``id file:offset``) or an ``.ark``."""
    if source.suffix == ".scp":
        yield from _scp(source)
        return
    try:
        with open(source, "rb") as file:
            while (name := _token(file, str(source))) is not None:
                where = file.tell()
                shape, dtype = _header(file, f"{source} ({name})")
                file.seek(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, 1)
                yield name, partial(_matrix, source, where, name)
    except OSError as error:
        raise CannotImport(str(source), error.strerror or str(error)) from error


def _scp(source: Path) -> LazyArrays:
    try:
        lines = source.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotImport(str(source), f"it is not text ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, place = line.strip().partition(" ")
        place = place.strip()
        if not place or place.endswith(("|", "]")):
            where = f"{source}, line {number}"
            raise CannotImport(where, "only 'id file' and 'id file:offset' are read, no commands or ranges")
        path, colon, offset = place.rpartition(":")
        if not (colon and offset.isdecimal()):
            path, offset = place, "0"
        # as Kaldi does, a relative path is meant from the working directory; else from the .scp's folder
        ark = Path(path) if Path(path).is_file() else source.parent / path
        yield name, partial(_matrix, ark, int(offset), name)


def _token(file: BinaryIO, where: str) -> str | None:
    """The key before a matrix; None at the end of the file."""
    letters = bytearray()
    while (letter := file.read(1)) != b" ":
        if not letter:
            if letters:
                raise CannotImport(where, "it ends within a key")
            return None
        letters += letter
        if len(letters) > 10_000:
            raise CannotImport(where, "it is not a Kaldi archive")
    return letters.decode("utf-8", "replace").strip()


_TYPES = {b"FM ": "<f4", b"DM ": "<f8", b"FV ": "<f4", b"DV ": "<f8"}


def _matrix(ark: Path, offset: int, name: str) -> Array:
    """The matrix, or vector as one frame, that begins at ``offset``."""
    where = f"{ark} ({name})"
    try:
        with open(ark, "rb") as file:
            file.seek(offset)
            shape, dtype = _header(file, where)
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            data = file.read(size)
    except OSError as error:
        raise CannotImport(where, error.strerror or str(error)) from error
    if len(data) != size:
        raise CannotImport(where, f"it ends after {len(data):,} of {size:,} bytes")
    return np.frombuffer(data, dtype).reshape(shape)


def _header(file: BinaryIO, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """``\\0B FM \\4 rows \\4 columns`` of a matrix, ``\\0B FV \\4 values`` of a vector."""
    if file.read(2) != b"\0B":
        raise CannotImport(where, "it is a text archive (write it with copy-feats ark:IN ark:OUT)")
    kind = file.read(3)
    if kind not in _TYPES:
        compressed = kind[:2] == b"CM"
        raise CannotImport(
            where,
            "it is compressed (copy-feats --compress=false)" if compressed else f"it holds {kind!r}, not a matrix",
        )
    shape = tuple(_size(file, where) for _ in range(2 if kind[1:2] == b"M" else 1))
    dtype = np.dtype(_TYPES[kind])
    if int(np.prod(shape, dtype=np.float64)) * dtype.itemsize > LIMIT:
        raise CannotImport(where, f"it declares a matrix of {shape}")
    return shape, dtype


def _size(file: BinaryIO, where: str) -> int:
    data = file.read(5)
    if len(data) != 5 or data[0] != 4:
        raise CannotImport(where, "its header is broken")
    (size,) = struct.unpack("<i", data[1:])
    if size < 0:
        raise CannotImport(where, "its header declares a negative size")
    return int(size)


READERS: dict[str, Callable[[Path], LazyArrays]] = {"npy": read_npy, "kaldi": read_kaldi, "h5": read_h5}


def guess(source: Path) -> str:
    """The format of a path: by its suffix, or by what the folder holds."""
    if source.suffix in (".scp", ".ark"):
        return "kaldi"
    if source.suffix in (".h5", ".hdf5"):
        return "h5"
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix == ".npy":
                return "npy"
            if path.suffix in (".h5", ".hdf5"):
                return "h5"
    raise CannotImport(str(source), "its name does not tell its format")


LARGEST = {"float16": 65504.0, "float32": float(np.finfo(np.float32).max)}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        address: of the entry.
        rows: written now.
        kept: there already, unchanged.
        failures: id -> why it was not taken.
    """

    address: str
    rows: int
    kept: int
    failures: dict[str, Failure]


def import_features(
    source: Path,
    cache: Path,
    *,
    modality: str,
    encoder: str,
    layer: int,
    dtype: str = "float16",
    frame_rate: float | None = None,
    form: str | None = None,
    note: str | None = None,
    container: str = "zarr",
    replace: bool = False,
    recipe: str | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Imports a folder or archive; arrays are ``(frames, features)``, or ``(features,)`` for one frame.

    Args:
        source: see `ser_cache.exchange.importing`.
        cache: made if it is not there.
        modality, encoder, layer: the address; by these names ser-fuse finds the entry.
        dtype: as stored; values beyond the range of float16 are failures, never infinities.
        frame_rate: frames per second, None for text.
        form: ``npy``, ``kaldi`` or ``h5``; by the path's name if None.
        note: free text on where the features come from, declared.
        container: of the new shards.
        replace: if the entry exists with another declaration, begin it again.
        recipe: command kept with the rows.
        progress: called with (utterances done, utterances in all).

    Raises:
        CannotImport: a file is not what the format asks for, or the widths differ.
        SpecMismatch: the entry exists with another declaration; so does one that ser-extract computed.
    """
    form = form or guess(source)
    read = READERS[form]
    loaders: dict[str, Callable[[], NDArray[Any]]] = {}
    for name, load in read(source):
        if name in loaders:
            raise CannotImport(str(source), f"it holds {name!r} twice")
        loaders[name] = load
    items, width = _survey(loaders, str(source))
    declared: dict[str, Any] = {"imported": True, "format": form} | ({"note": note} if note else {})
    spec = EntrySpec(
        modality=modality,
        encoder=encoder,
        layer=layer,
        dtype=dtype,
        features=width,
        frame_rate=frame_rate,
        declared=declared,
    )
    writer = create_cache(cache).writer(spec, container=container, replace=replace, recipe=recipe)
    summary = writer.plan(items)
    failures: dict[str, Failure] = {}
    rows = 0
    for shard in writer.pending():
        made = {item.id: _row(item, loaders[item.id], str(source), dtype) for item in shard.items}
        bad = {name: row for name, row in made.items() if isinstance(row, Failure)}
        good = [row for row in made.values() if isinstance(row, Row)]
        writer.commit(shard, good, bad, {"source": source.name})
        failures |= bad
        rows += len(good)
        if progress is not None:
            progress(summary.kept + rows + len(failures), len(items))
    return Imported(spec.address, rows, summary.kept, failures)


def _as_frames(array: NDArray[Any]) -> NDArray[Any]:
    return array[None] if array.ndim == 1 else array


def _digest(array: NDArray[Any]) -> str:
    """Hash of the values with their shape and type, whatever the file around them."""
    plain = np.ascontiguousarray(array)
    head = f"{plain.shape}{plain.dtype.str}".encode()
    return "values:" + xxhash.xxh3_128(head + plain.tobytes()).hexdigest()


def _survey(loaders: Mapping[str, Callable[[], NDArray[Any]]], where: str) -> tuple[list[Item], int]:
    """First pass: hash and frames of every utterance, and the width they share."""
    items: list[Item] = []
    width: int | None = None
    for name, load in loaders.items():
        frames = _as_frames(load())
        if frames.ndim != 2 or not frames.shape[1] or frames.dtype.kind != "f":
            raise CannotImport(
                where, f"{name!r} is {frames.shape} {frames.dtype}, expected floats of shape (frames, features)"
            )
        if width not in (None, frames.shape[1]):
            raise CannotImport(where, f"{name!r} has {frames.shape[1]} features, the utterances before have {width}")
        width = int(frames.shape[1])
        items.append(Item(name, _digest(frames), 0.0, len(frames)))
    if width is None:
        raise CannotImport(where, "it holds no utterance")
    return items, width


def _row(item: Item, load: Callable[[], NDArray[Any]], where: str, dtype: str) -> Row | Failure:
    frames = _as_frames(load())
    if _digest(frames) != item.input_hash:
        raise CannotImport(where, f"{item.id!r} has changed since the import began")
    largest = float(np.abs(frames).max(initial=0.0))
    if not np.isfinite(largest):
        return Failure("not_finite", "it holds values that are not finite")
    if largest > LARGEST[dtype]:
        return Failure("overflow", f"it reaches {largest:.4g}, {dtype} ends at {LARGEST[dtype]:g}")
    return Row(item.id, np.ascontiguousarray(frames, dtype=dtype))
