"""Other people's features into a cache, through the ordinary writer.

Their provenance is declared as what it is: ``imported: true``, so such an entry never has the fingerprint of one that
ser-extract computed, and never mixes with it. The input hash of a row is the hash of the values themselves, so a second
import replaces exactly what has changed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from ser_cache.catalog import create_cache
from ser_cache.exchange.foreign import READERS, CannotImport, guess
from ser_cache.format.spec import EntrySpec
from ser_cache.items import Failure, Item, Row

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
        source: see `ser_cache.exchange.foreign`.
        cache: made if it is not there.
        modality, encoder, layer: the address; by these names ser-fuse finds the entry.
        dtype: as stored; values beyond the range of float16 are failures, never infinities.
        frame_rate: frames per second, None for text.
        form: ``npy``, ``kaldi`` or ``h5``; by the path's name if None.
        note: free text on where the features come from, declared.
        container: of the new shards.
        replace: if the entry exists with another declaration, begin it anew.
        recipe: command kept with the rows.
        progress: called with (utterances done, utterances in all).

    Raises:
        CannotImport: a file is not what the format asks for, or the widths differ.
        SpecMismatch: the entry exists with another declaration; so does one that ser-extract computed.
    """
    form = form or guess(source)
    read = READERS[form]
    found: dict[str, Callable[[], NDArray[Any]]] = {}
    for name, load in read(source):
        if name in found:
            raise CannotImport(str(source), f"it holds {name!r} twice")
        found[name] = load
    items, width = _survey(found, str(source))
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
        made = {item.id: _row(item, found[item.id], str(source), dtype) for item in shard.items}
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


def _survey(found: Mapping[str, Callable[[], NDArray[Any]]], where: str) -> tuple[list[Item], int]:
    """First pass: hash and frames of every utterance, and the width they share."""
    items: list[Item] = []
    width: int | None = None
    for name, load in found.items():
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
