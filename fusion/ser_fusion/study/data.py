"""What a study holds: utterances, labels, folds, where the frames lie, their pooled features, and who is normalised together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from ser_base.errors import UnknownName
from ser_base.machine import side_by_side
from ser_fusion.frames.features import Stored, moments_over_time

if TYPE_CHECKING:
    import pandas as pd

    from ser_cache import Entry
    from ser_data.manifest.table import CorpusInfo
    from ser_data.protocols import Folds


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyData:
    """Utterances, labels, folds and streams of one cache.

    Attributes:
        cache: Directory of the cache.
        table: Usable utterances, sorted by id (which is the index, and a column too): the manifest's columns and
            ``target``, the class number (int64).
        classes: Class names in order.
        folds: Who trains, develops and tests.
        streams: One entry per stream; with several layers the deepest.
        layers: All chosen layers of each stream, ascending.
        excluded: Utterances left out: columns ``id``, ``reason``.
        failed: How many of them have a label and failed in the extraction.
        labels: Name of the label scheme.
        info: The corpus's card.
        notes: What a reader of results must know.
        masked: Stream -> how many utterances take part without it.
        turns: All rows of the manifest, usable or not.
    """

    cache: Path
    table: "pd.DataFrame"
    classes: tuple[str, ...]
    folds: "Folds"
    streams: Mapping[str, "Entry"]
    layers: Mapping[str, tuple["Entry", ...]]
    excluded: "pd.DataFrame"
    failed: int
    labels: str
    info: "CorpusInfo"
    notes: tuple[str, ...] = field(default=())
    masked: Mapping[str, int] = field(default_factory=dict)
    turns: "pd.DataFrame | None" = None

    @property
    def targets(self) -> NDArray[np.int64]:
        """Class number per row of the table, (utterances,)."""
        return self.table["target"].to_numpy(dtype=np.int64, copy=True)

    @property
    def counts(self) -> dict[str, int]:
        """Utterances per class."""
        numbers = np.bincount(self.targets, minlength=len(self.classes))
        return {name: int(n) for name, n in zip(self.classes, numbers, strict=True)}

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Positions of these utterances in the table, (ids,)."""
        import pandas as pd

        return np.asarray(self.table.index.get_indexer(pd.Index(list(ids))), dtype=np.int64)

    def pooled(self, stream: str, pooling: str = "stats") -> NDArray[np.float32]:
        """Features of one stream pooled over time, special tokens left out.

        Args:
            stream: Name of the stream.
            pooling: ``stats`` (mean and deviation, ddof 0), ``mean`` or ``max``.

        Returns:
            (utterances, features or twice as many) float32, rows as in ``table``; zeros for an utterance without frames.
        """
        return pool_entry(self.streams[stream], list(self.table.index), pooling)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: nothing of a study changes, and scikit-learn's ``clone`` would copy it again and again."""
        return self

    @property
    def data_fingerprint(self) -> str:
        """xxh3-128 of everything that was learned from: entries, inputs, labels and folds."""
        digest = xxhash.xxh3_128()
        for stream in sorted(self.layers):
            for entry in self.layers[stream]:
                digest.update(f"{stream}\0{entry.fingerprint}\0".encode())
            hashes = self.layers[stream][-1].input_hashes
            for name in self.table.index:
                digest.update(f"{name}\0{hashes.get(name, '')}\0".encode())
        labels = zip(self.table.index, self.table["target"], strict=True)
        digest.update("\0".join(f"{name}\0{target}" for name, target in labels).encode())
        digest.update(f"{self.classes}{self.folds.fingerprint}".encode())
        return digest.hexdigest()


def pool_entry(entry: Stored, ids: Sequence[str], pooling: str) -> NDArray[np.float32]:
    """Pools the frames of one entry over time; see ``StudyData.pooled``."""
    widths = {"stats": 2, "mean": 1, "max": 1}
    if pooling not in widths:
        raise UnknownName("pooling of features", pooling, tuple(widths))
    out = np.zeros((len(ids), widths[pooling] * entry.spec.features), dtype=np.float32)

    def pool(rows: NDArray[np.int64]) -> None:
        for number in rows:
            special = entry.special(ids[number]) if entry.spec.frame_rate is None else None
            pool_frames(entry.read(ids[number]), special, pooling, out[number])

    side_by_side(pool, np.arange(len(ids)), int(entry.lengths(ids).sum()) * entry.spec.features)
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
    if pooling == "mean":
        out[:] = values.mean(0)
        return
    mean, variance = moments_over_time(values)
    out[:] = np.concatenate([mean, np.sqrt(variance)])


# Pooled features of all streams, as probes take them.


Pooled = Mapping[str, Mapping[str, NDArray[np.float32]]]
"""Pooling -> stream -> pooled features ``(n, d)``, rows as the table."""


def both_poolings(stats: Mapping[str, NDArray[np.float32]]) -> Pooled:
    """Mean, and mean and deviation, of streams that were pooled with ``stats``: its first half is the mean."""
    halves = {stream: np.ascontiguousarray(values[:, : values.shape[1] // 2]) for stream, values in stats.items()}
    return {"mean": halves, "stats": stats}


def stream_features(study: StudyData) -> Pooled:
    """Pooled frames of every stream of a study: ``mean`` and ``stats`` -> stream -> ``(n, d)``."""
    return both_poolings({stream: np.asarray(study.pooled(stream, "stats")) for stream in study.streams})
