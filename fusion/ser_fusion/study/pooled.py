"""Features of utterances pooled over time: what probes, classifiers and references see."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ser_base.errors import UnknownName

if TYPE_CHECKING:
    from ser_cache import Entry


def pool_entry(entry: "Entry", ids: Sequence[str], pooling: str) -> NDArray[np.float32]:
    """Pools the frames of one entry over time; see ``StudyData.pooled``."""
    known = {"stats": 2, "mean": 1, "max": 1}
    if pooling not in known:
        raise UnknownName("pooling of features", pooling, tuple(known))
    features = entry.spec.features
    out = np.zeros((len(ids), known[pooling] * features), dtype=np.float32)
    for number, name in enumerate(ids):
        special = entry.special(name) if entry.spec.frame_rate is None else None
        pool_frames(entry.read(name), special, pooling, out[number])
    return out


def pool_frames(
    frames: NDArray[Any], special: NDArray[np.bool_] | None, pooling: str, out: NDArray[np.float32]
) -> None:
    """Pools the frames of one utterance, (frames, features), into ``out``, which stays 0 where there are no frames.

    Args:
        frames: As stored.
        special: Frames that are left out, unless all of them are special.
        pooling: ``stats``, ``mean`` or ``max``.
        out: (features,), or twice as many for ``stats``.
    """
    values = frames.astype(np.float32)
    if special is not None and not special.all():
        values = values[~special]
    if not len(values):
        return
    if pooling == "max":
        out[:] = values.max(0)
        return
    features = values.shape[1]
    out[:features] = values.mean(0)
    if pooling == "stats":
        out[features:] = values.std(0)
