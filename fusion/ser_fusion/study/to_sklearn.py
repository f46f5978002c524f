"""A study as arrays for scikit-learn, and as a table for pandas."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ser_fusion.errors import StreamMissing
from ser_fusion.study.data import pool_entry

if TYPE_CHECKING:
    import pandas as pd

    from ser_cache import Entry
    from ser_fusion.study.data import StudyData

Layers = int | Mapping[str, int] | None


class SklearnData(NamedTuple):
    """What scikit-learn's tools take: ``cross_val_score(model, X, y, groups=groups, cv=splits)``.

    Attributes:
        X: Pooled features, (utterances, d) float32, streams side by side.
        y: Class name per utterance, (utterances,).
        groups: Speaker per utterance, (utterances,); empty text where the corpus does not say.
        splits: (training positions, test positions) of each fold.
    """

    X: NDArray[np.float32]
    y: NDArray[np.str_]
    groups: NDArray[np.str_]
    splits: list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def to_sklearn(
    study: "StudyData",
    *,
    streams: Sequence[str] | None = None,
    pooling: str = "stats",
    layer: Layers = None,
    train_on_dev: bool = False,
) -> SklearnData:
    """Pooled features, labels, speakers and folds of a study.

    Args:
        study: From ``open_study``.
        streams: Streams to put side by side; None for all.
        pooling: ``stats`` (mean and deviation over frames), ``mean`` or ``max``.
        layer: Another cached layer than the study's: a number, or a number per stream.
        train_on_dev: Add each fold's development part to its training part; without it, models see what heads see.

    Returns:
        Rows in the order of ``study.table``.
    """
    features = [pooled(study, stream, pooling, layer) for stream in _streams(study, streams)]
    names = np.asarray(study.classes, dtype=np.str_)
    groups = study.table["speaker"].fillna("").astype(str).to_numpy(dtype=np.str_)
    return SklearnData(np.concatenate(features, axis=1), names[study.targets], groups, splits_of(study, train_on_dev))


def splits_of(study: "StudyData", train_on_dev: bool = False) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Positions of training and test part per fold; a ``cv`` for scikit-learn."""
    splits = []
    for fold in study.folds.folds:
        train = (*fold.train, *fold.dev) if train_on_dev else fold.train
        splits.append((np.sort(study.rows(train)), np.sort(study.rows(fold.test))))
    return splits


def to_pandas(
    study: "StudyData", *, pooling: str | None = None, streams: Sequence[str] | None = None, layer: Layers = None
) -> "pd.DataFrame":
    """The utterances of a study as a table; with ``pooling`` their pooled features, one column each.

    Args:
        study: From ``open_study``.
        pooling: ``stats``, ``mean`` or ``max``; None for no features.
        streams: Streams whose features are wanted; None for all.
        layer: As for ``to_sklearn``.

    Returns:
        Index id; columns of the manifest, ``class``, and per fold its part (``fold_<name>``: train, dev, test); features
        are ``audio.mean.0`` ...; ``.to_parquet(path)`` keeps it.
    """
    import pandas as pd

    table = study.table.drop(columns="target")
    extra: dict[str, Any] = {"class": np.asarray(study.classes, dtype=object)[study.targets]}
    for fold in study.folds.folds:
        parts = np.full(len(table), None, dtype=object)
        for part in ("train", "dev", "test"):
            parts[study.rows(getattr(fold, part))] = part
        extra[f"fold_{fold.name}"] = parts
    frames = [table, pd.DataFrame(extra, index=table.index)]
    if pooling is not None:
        for stream in _streams(study, streams):
            values = pooled(study, stream, pooling, layer)
            kinds = ("mean", "std") if pooling == "stats" else (pooling,)
            width = values.shape[1] // len(kinds)
            columns = [f"{stream}.{kind}.{number}" for kind in kinds for number in range(width)]
            frames.append(pd.DataFrame(values, index=table.index, columns=columns))
    return pd.concat(frames, axis=1)


def pooled(study: "StudyData", stream: str, pooling: str, layer: Layers = None) -> NDArray[np.float32]:
    """Pooled features of one stream, (utterances, d), from the study's layer or from another cached one."""
    return pool_entry(_entry(study, stream, layer), list(study.table.index), pooling)


def _entry(study: "StudyData", stream: str, layer: Layers) -> "Entry":
    from ser_cache import open_cache

    own = study.streams[stream]
    wanted = layer.get(stream) if isinstance(layer, Mapping) else layer
    if wanted is None or wanted == own.spec.layer:
        return own
    return open_cache(study.cache).select(stream, own.spec.encoder, wanted, own.spec.dtype)


def _streams(study: "StudyData", streams: Sequence[str] | None) -> tuple[str, ...]:
    wanted = tuple(study.streams) if streams is None else (streams,) if isinstance(streams, str) else tuple(streams)
    for name in wanted:
        if name not in study.streams:
            raise StreamMissing("to_sklearn", f"the stream {name}", tuple(study.streams))
    return wanted
