"""The contract of a container: one shard of ragged rows in a file or folder that other people's tools open."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Content:
    """What a shard holds.

    Attributes:
        rows: ``(frames, features)`` float16 or float32 each, C order; at least one.
        offsets: ``(rows + 1,)`` int64.
        ids: one per row.
        special: ``(frames,)`` bool, or None.
        attributes: facts for people who open the container without us: modality, encoder, layer, frame rate.
    """

    rows: Sequence[NDArray[np.floating]]
    offsets: NDArray[np.int64]
    ids: tuple[str, ...]
    special: NDArray[np.bool_] | None
    attributes: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, int]:
        """Frames of all rows, features."""
        return int(self.offsets[-1]), self.rows[0].shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of all rows."""
        return self.rows[0].dtype


@dataclass(frozen=True)
class Expected:
    """What the commit record says about a shard; a container that declares anything else is not opened.

    Attributes:
        rows, frames, features: shape of what is held.
        dtype: ``float16`` or ``float32``.
        special: whether there is a mask of special tokens.
        files: relative to the container's own path (``.`` for a file): bytes.
    """

    rows: int
    frames: int
    features: int
    dtype: str
    special: bool
    files: Mapping[str, int]

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return 2 if self.dtype == "float16" else 4

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The dtype on disk, little endian."""
        return np.dtype(self.dtype).newbyteorder("<")


class OpenShard(Protocol):
    """A shard whose metadata was checked against what is expected."""

    def located(self) -> tuple[Path, int] | None:
        """File and byte offset of ``values`` if its own index proves that they lie there in one piece in row order.

        Else None.
        """
        ...

    def values(self, start: int, stop: int) -> NDArray[np.floating]:
        """Frames ``start`` to ``stop`` through the container's library."""
        ...

    def special(self) -> NDArray[np.bool_] | None:
        """Mask of special tokens ``(frames,)``, or None."""
        ...

    def offsets(self) -> NDArray[np.int64]:
        """``(rows + 1,)``."""
        ...

    def ids(self) -> tuple[str, ...]:
        """One per row."""
        ...


class Container(Protocol):
    """Writes and opens shards."""

    suffix: str

    def write(self, path: Path, content: Content) -> None:
        """Creates ``path`` (which must not exist) and closes it; syncing is the caller's."""
        ...

    def open(self, path: Path, expected: Expected) -> OpenShard:
        """Opens for reading; raises Damaged or Unsafe where the container does not hold what is expected."""
        ...


def ids_to_bytes(ids: tuple[str, ...]) -> NDArray[np.uint8]:
    """Ids as one array of UTF-8 JSON; lone surrogates stay escaped."""
    return np.frombuffer(json.dumps(ids, ensure_ascii=True).encode(), dtype=np.uint8)


def ids_from_bytes(data: NDArray[np.uint8]) -> tuple[str, ...]:
    """The inverse of `ids_to_bytes`."""
    return tuple(str(each) for each in json.loads(data.tobytes()))
