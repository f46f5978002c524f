"""Maps where utterances lie in the space of pooled frames, and what else than the emotion a linear probe reads there.

A map shows; the probe counts. Both are about the features alone: no head is trained. What a probe reads of speaker, session
or scenario is what a head may learn instead of the emotion.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ser_base.errors import PackageMissing
from ser_fusion.evaluation.metrics import scores_of
from ser_fusion.evaluation.probe_solver import moments
from ser_fusion.evaluation.probes import fit_probe
from ser_fusion.evaluation.records import Number, Record

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("pca", "tsne", "umap")
READ = ("class", "speaker", "session", "scenario", "gender", "corpus")
"""Columns that colour a map and that a probe reads, in this order."""
CONFOUNDS = ("speaker", "session", "scenario", "corpus")
MOST = 2_000
"""Utterances of a map at most, drawn at random: the time of t-SNE grows faster than their number."""
LEAST = 5
"""Utterances of a value that a probe needs."""
FOLDS = 5
AXES = 50
"""Principal components that t-SNE and UMAP start from."""

Values = NDArray[np.float32]
Column = Sequence[str | None]


class Read(Record):
    """What a probe reads of one column: mean recall over its values (UWA), and 1 / values for a guess."""

    column: str
    values: Annotated[int, Field(ge=2)]
    n: int
    uwa: Number
    chance: float
    held_out: str


class Places(Record):
    """The map of one stream: method -> (utterances, 2), and what is read."""

    encoder: str
    layer: int
    places: dict[str, list[Annotated[list[float], Field(min_length=2, max_length=2)]]]
    read: list[Read]


class FeatureMap(Record):
    """``map.json``."""

    n: int
    of: int
    data_fingerprint: str | None = None
    ids: list[str]
    columns: dict[str, list[str | None]]
    streams: dict[str, Places]


def require(methods: Sequence[str]) -> None:
    """Checks before anything is computed that UMAP is installed where it is asked for.

    Raises:
        PackageMissing: It is not.
    """
    if "umap" in methods and find_spec("umap") is None:
        raise PackageMissing("--map umap", "umap-learn")


def feature_map(
    table: "pd.DataFrame",
    features: Mapping[str, tuple[str, int, Values]],
    methods: Sequence[str],
    *,
    most: int = MOST,
    tell: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Makes maps and probes of every stream. The draw, t-SNE and UMAP have the seed 0.

    Args:
        table: One row per utterance: ``class`` and further columns of ``READ``; its index holds the ids.
        features: Stream -> encoder, layer, and frames pooled by their mean, ``(utterances, features)``, rows as in ``table``.
        methods: Names of ``METHODS``.
        most: Utterances to draw at random where there are more.
        tell: Called with the name of each step.

    Returns:
        The content of ``map.json``, see ``FeatureMap``.
    """
    rows = np.arange(len(table))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(0).permutation(len(rows))[:most])
    part = table.iloc[rows]
    columns = {name: _column(part, name) for name in READ if name in part}
    columns = {name: values for name, values in columns.items() if len({*values} - {None}) > 1}
    streams = {}
    for stream, (encoder, layer, values) in features.items():
        own = np.asarray(values[rows], dtype=np.float32)
        places, lines = {}, []
        for name in methods:
            tell(f"{stream}: {name}")
            places[name] = _places(own, name).round(3).tolist()
        for name, column in columns.items():
            tell(f"{stream}: probe of {name}")
            line = read(own, column, None if name in ("speaker", "session") else columns.get("speaker"))
            lines += [{"column": name, **line}] if line else []
        streams[stream] = {"encoder": encoder, "layer": layer, "places": places, "read": lines}
    ids = [str(name) for name in part.index]
    return {"n": len(rows), "of": len(table), "ids": ids, "columns": columns, "streams": streams}


def _column(part: "pd.DataFrame", name: str) -> list[str | None]:
    return [value if isinstance(value, str) and value else None for value in part[name].tolist()]


def _places(values: Values, method: str) -> NDArray[np.float64]:
    """Places utterances, (utterances, 2), by standardised features; t-SNE and UMAP start from ``AXES`` principal components."""
    from sklearn.decomposition import PCA

    mean, scale = moments(values)
    x = (values[:, scale > 0] - mean[scale > 0]) * scale[scale > 0]
    axes = min(2 if method == "pca" else AXES, *x.shape)
    x = PCA(axes, random_state=0, svd_solver="full").fit_transform(x) if axes else np.zeros((len(x), 0))
    if x.shape[1] < 2:  # there is one feature, or all utterances are alike
        x = np.pad(x, ((0, 0), (0, 2 - x.shape[1])))
    if method == "pca" or len(x) < 4 or not x.any():  # t-SNE divides by the spread
        return np.asarray(x[:, :2], dtype=np.float64)
    near = max(2, min(30, (len(x) - 1) // 3))
    if method == "umap":
        from umap import UMAP

        return np.asarray(UMAP(n_neighbors=min(15, near), random_state=0).fit_transform(x), dtype=np.float64)
    from sklearn.manifold import TSNE

    return np.asarray(TSNE(perplexity=near, init="pca", random_state=0).fit_transform(x), dtype=np.float64)


def read(values: Values, column: Column, speakers: Column | None = None) -> dict[str, Any] | None:
    """Measures how well the linear probe reads a column from pooled frames.

    Tested on speakers that it was not fitted on, where speakers are given and every value has two or more; else on other
    utterances of the same speakers.

    Args:
        values: ``(utterances, features)``.
        column: The value of each utterance; those without one, and values with fewer than ``LEAST`` utterances, are left out.
        speakers: The speaker of each utterance.

    Returns:
        ``values``, ``n``, ``uwa``, ``chance`` and ``held_out``; None where fewer than two values remain.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    names = np.array(["" if name is None else name for name in column], dtype=np.str_)
    distinct, counts = np.unique(names[names != ""], return_counts=True)
    kept = distinct[counts >= LEAST]
    if len(kept) < 2:
        return None
    rows = np.flatnonzero(np.isin(names, kept)).astype(np.int64)
    truth = np.searchsorted(kept, names[rows]).astype(np.int64)
    groups = _groups(speakers, rows, truth)
    if groups is None:
        cut = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(rows, truth)
    else:
        folds = min(FOLDS, *(len(set(groups[truth == k])) for k in range(len(kept))))
        cut = StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(rows, truth, groups)
    counted = np.zeros((len(kept), len(kept)))
    nothing = np.zeros(0, dtype=np.int64)
    own = np.ascontiguousarray(values[rows])
    for train, test in cut:
        probe = fit_probe(own, truth, train, nothing, len(kept))
        np.add.at(counted, (truth[test], probe.posteriors(own[test]).argmax(axis=1)), 1.0)
    held_out = "nothing" if groups is None else "speaker"
    uwa, chance = float(scores_of(counted)["UWA"]), 1 / len(kept)
    return {"values": len(kept), "n": len(rows), "uwa": uwa, "chance": chance, "held_out": held_out}


def _groups(speakers: Column | None, rows: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.str_] | None:
    """Returns the speaker of each row, if every row has one and every value has two or more."""
    names = [None if speakers is None else speakers[row] for row in rows]
    if None in names:
        return None
    groups = np.array(names, dtype=np.str_)
    return groups if all(len(set(groups[truth == k])) > 1 for k in range(truth.max() + 1)) else None


def better_read(content: Mapping[str, Any]) -> list[str]:
    """Returns sentences on what is read better than the emotion is: its share of the way from a guess to certainty is larger."""
    lines = []
    for stream, stream_map in content["streams"].items():
        ways = {line["column"]: share(line) for line in stream_map["read"] if line["uwa"] is not None}
        above = [name for name in CONFOUNDS if name in ways and ways[name] > ways.get("class", 1.0)]
        if above:
            lines.append(
                f"{stream}: the probe reads {', '.join(above)} better than the class. "
                "Hold these out (--protocol), or a score may be about them."
            )
    return lines


def share(line: Mapping[str, Any]) -> float:
    """Measures how far a probe comes on the way from a guess (0) to certainty (1); below 0 it is worse than a guess."""
    return float((line["uwa"] - line["chance"]) / (1 - line["chance"]))
