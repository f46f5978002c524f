"""Hidden states fresh from an encoder, put where the training reads stored ones: the two paths are one.

``MemoryEntry`` looks like an entry of the cache to ``ser_fusion.frames.features.read_stream``, which then does what it does in
training: the stored type's rounding, the stride, position 0 only, special tokens marked.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ser_cache import EntrySpec, Ragged
from ser_extract.encoders.base import Encoded
from ser_fusion.frames.features import StreamFrames, read_stream
from ser_fusion.study.pooled import pool_entry

LARGEST = {"float16": 65504.0, "float32": 3.4e38}


class MemoryEntry:
    """Rows of one layer in memory, with the reading face of ``ser_cache.Entry`` that stage two uses.

    Args:
        spec: What the run's own entry was computed from.
        encoded: Utterance -> hidden states.
    """

    def __init__(self, spec: EntrySpec, encoded: Mapping[str, Encoded]) -> None:
        self.spec = spec
        self._rows = {
            name: np.ascontiguousarray(one.states[spec.layer], dtype=spec.dtype) for name, one in encoded.items()
        }
        self._special = {name: one.special for name, one in encoded.items()}

    def lengths(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Frames of each utterance."""
        return np.array([len(self._rows[name]) for name in ids], dtype=np.int64)

    def gather(self, ids: Sequence[str]) -> Ragged:
        """Several utterances, ragged."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths(ids))]).astype(np.int64)
        return Ragged(np.concatenate([self._rows[name] for name in ids]), offsets)

    def read(self, id: str) -> NDArray[Any]:
        """Frames of one utterance, (frames, features)."""
        return self._rows[id]

    def special(self, id: str) -> NDArray[np.bool_] | None:
        """Mask of special tokens."""
        return self._special[id]


def stream_frames(
    specs: Sequence[EntrySpec], encoded: Mapping[str, Encoded], ids: Sequence[str], *, stride: int, first_only: bool
) -> StreamFrames:
    """Frames as the heads of a run read them.

    Args:
        specs: One per layer.
        encoded: Utterance -> hidden states of all layers.
        ids: Order of the rows.
        stride: Of the run.
        first_only: Whether the run reads position 0 only.
    """
    entries = [MemoryEntry(spec, encoded) for spec in specs]
    return read_stream(cast(Any, entries), ids, stride=stride, first_only=first_only)


def pooled_frames(
    specs: Sequence[EntrySpec], encoded: Mapping[str, Encoded], ids: Sequence[str]
) -> NDArray[np.float32]:
    """Mean and deviation over the frames of the deepest layer, (ids, 2 features): what the linear probes of a run read."""
    entry = MemoryEntry(specs[-1], encoded)
    return pool_entry(cast(Any, entry), ids, "stats")


def unusable(spec: EntrySpec, one: Encoded) -> str | None:
    """Why hidden states cannot be stored as in training, or None; the same rule as ser-extract's."""
    values = one.states[spec.layer]
    if not np.isfinite(values).all():
        return f"layer {spec.layer} holds values that are not finite"
    largest = float(np.abs(values).max(initial=0.0))
    return f"layer {spec.layer} reaches {largest:.4g}, beyond {spec.dtype}" if largest > LARGEST[spec.dtype] else None
