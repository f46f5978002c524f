"""Scores apart: improvised and scripted, seen and unseen text, by speaker and gender, and with confusable pairs merged."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ser_fusion.evaluation.metrics import class_positions, scores_of

# Pairs that annotators themselves mix up; the names that corpora give them.
MERGED = (
    ("angry + frustrated", ({"ang", "anger", "angry"}, {"fru", "frustrated", "frustration"})),
    ("happy + excited", ({"hap", "happy", "happiness", "joy"}, {"exc", "excited", "excitement"})),
)


def seen_text(utterances: pd.DataFrame, folds: pd.DataFrame) -> pd.Series | None:
    """Per (fold, id) of the test parts: does the same normalised text occur in the fold's training part?

    Two texts are the same if their letters and digits agree (``ser_data.manifest.text.comparison_key``).

    Args:
        utterances: Index = id, column ``text``.
        folds: ``id, fold, part``.

    Returns:
        Booleans indexed by (fold, id); None where no transcript is known.
    """
    from ser_data.manifest.text import comparison_key

    if "text" not in utterances:
        return None
    keys = utterances["text"].map(lambda text: comparison_key(text) or None if isinstance(text, str) else None)
    if keys.isna().all():
        return None
    codes = pd.Series(pd.factorize(keys)[0], keys.index)  # -1: not a text
    hashes = folds["id"].map(codes).fillna(-1)
    seen: list[pd.Series] = []
    for fold, part in folds.assign(hash=hashes).groupby("fold"):
        trained = part.loc[(part["part"] == "train") & (part["hash"] >= 0), "hash"].to_numpy()
        test = part[part["part"] == "test"]
        index = pd.MultiIndex.from_arrays([[str(fold)] * len(test), test["id"]], names=["fold", "id"])
        seen.append(pd.Series(np.isin(test["hash"].to_numpy(), trained), index=index))
    return pd.concat(seen) if seen else None


def groupings(utterances: pd.DataFrame, seen: pd.Series | None, predictions: pd.DataFrame) -> dict[str, pd.Series]:
    """Group names per prediction row for every split that the corpus allows: ``style``, ``text``, ``gender``, ``speaker``.

    Args:
        utterances: Index = id.
        seen: From ``seen_text``, made once for all rows.
        predictions: Of one row.
    """
    groups: dict[str, pd.Series] = {}
    ids = predictions["id"]
    if "scripted" in utterances and utterances["scripted"].notna().any():
        style = utterances["scripted"].map({True: "scripted", False: "improvised"})
        groups["style"] = ids.map(style)
    if seen is not None:
        index = pd.MultiIndex.from_arrays([predictions["fold"].astype(str), ids])
        values = seen[~seen.index.duplicated()].reindex(index)
        groups["text"] = pd.Series(values.to_numpy(), index=predictions.index).map(
            {True: "seen in training", False: "unseen"}
        )
    for column in ("gender", "speaker"):
        if column in utterances and utterances[column].notna().any():
            groups[column] = ids.map(utterances[column].astype("object"))
    return groups


def split_scores(predictions: pd.DataFrame, groups: pd.Series, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Pooled scores of each group of one row, seeds averaged, with the number of utterances and of classes present."""
    weight = 1.0 / predictions.groupby("id", sort=False)["seed"].transform("size").to_numpy()
    codes, names = pd.factorize(groups)
    true, guess = (class_positions(predictions[column], classes) for column in ("label", "predicted"))
    k, inside = len(classes), codes >= 0
    cells = (codes * k + true) * k + guess
    summed = np.bincount(cells[inside], weights=weight[inside], minlength=len(names) * k * k)
    rows = []
    for name, counts in sorted(zip(names, summed.reshape(-1, k, k), strict=True), key=lambda group: str(group[0])):
        scored = {metric: float(value) for metric, value in scores_of(counts).items()}
        present = int((counts.sum(axis=1) > 0).sum())
        rows.append({"group": str(name), "n": round(float(counts.sum())), "classes": present, **scored})
    return rows


def merged_scores(counts: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Scores after confusable pairs count as one class: each pair alone, then both together.

    Args:
        counts: Pooled confusion matrix ``(classes, classes)``.
        classes: Their names.
    """
    merges = []
    for name, sides in MERGED:
        places = [next((i for i, label in enumerate(classes) if str(label).lower() in side), None) for side in sides]
        if all(place is not None for place in places):
            merges.append((name, [int(place) for place in places if place is not None]))
    plans = [(name, [pair]) for name, pair in merges]
    if len(merges) > 1:
        plans.append(("both pairs", [pair for _, pair in merges]))
    rows = []
    for name, pairs in plans:
        target = np.arange(len(classes))
        for first, second in pairs:
            target[second] = first
        _, target = np.unique(target, return_inverse=True)
        k = int(target.max()) + 1
        merged = np.zeros((k, k))
        np.add.at(merged, (target[:, None], target[None, :]), counts)
        rows.append({"merged": name, "classes": k, **{m: float(v) for m, v in scores_of(merged).items()}})
    return rows
