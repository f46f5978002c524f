"""WA, UWA, WF1 and UWF1, per fold, averaged over seeds and folds, and pooled over the test parts.

The field swaps these names, so every table prints ``DEFINITIONS`` below itself. UWA and UWF1 average over the classes that
have true examples in the scored set; a prediction into an absent class stays an error. Scores lie in [0, 1].
``score_fold`` is scikit-learn; ``scores_of`` is the same arithmetic on stacks of confusion matrices, which is what the exact
tests need (tens of thousands of matrices at once); a test holds the two together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from ser_fusion.evaluation.parts import unit_kind

METRICS = ("WA", "UWA", "WF1", "UWF1")

DEFINITIONS = {
    "WA": "accuracy: the share of utterances that are right (also called weighted accuracy)",
    "UWA": "mean of the recalls of the classes present (unweighted accuracy, UA, UAR, balanced accuracy)",
    "WF1": "F1 of each class, averaged with the class's number of true utterances as weight",
    "UWF1": "F1 of each class present, averaged without weights (macro F1)",
}


def class_positions(values: Any, classes: Sequence[str]) -> np.ndarray:
    """Class positions ``(n,)`` int64 of class names (or of positions, which pass through); -1 for a name that is not a class."""
    places = _places(tuple(str(name) for name in classes))
    if isinstance(values, pd.Series) and values.dtype == places.dtype:
        return places.get_indexer(pd.Index(values)).astype(np.int64)
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    return places.get_indexer(pd.Index(array.astype(str))).astype(np.int64)


@lru_cache(maxsize=32)
def _places(classes: tuple[str, ...]) -> "pd.Index[str]":
    """Made once: a run asks for the places of the same classes some hundred times."""
    return pd.Index(classes)


def score_fold(labels: Any, predicted: Any, classes: Sequence[str]) -> dict[str, float]:
    """The four scores of one scored set.

    Args:
        labels: True classes, ``(n,)``: names, or positions in ``classes``.
        predicted: Predicted classes, likewise.
        classes: All class names in order.

    Returns:
        ``{"WA", "UWA", "WF1", "UWF1"}``, each in [0, 1]; NaN where nothing was scored.
    """
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    true, guess = class_positions(labels, classes), class_positions(predicted, classes)
    if not len(true):
        return dict.fromkeys(METRICS, float("nan"))
    present = np.unique(true)
    options: dict[str, Any] = {"labels": present, "zero_division": 0}
    return {
        "WA": float(accuracy_score(true, guess)),
        "UWA": float(recall_score(true, guess, average="macro", **options)),
        "WF1": float(f1_score(true, guess, average="weighted", **options)),
        "UWF1": float(f1_score(true, guess, average="macro", **options)),
    }


def confusion(labels: Any, predicted: Any, classes: Sequence[str], weights: Any = None) -> np.ndarray:
    """Confusion matrix ``(classes, classes)``, rows the true class, columns the predicted one, entries counts (float64)."""
    true, guess, k = class_positions(labels, classes), class_positions(predicted, classes), len(classes)
    return np.bincount(true * k + guess, weights=weights, minlength=k * k).astype(np.float64).reshape(k, k)


def scores_of(confusions: np.ndarray) -> dict[str, np.ndarray]:
    """The four scores of each matrix of a stack.

    Args:
        confusions: ``(..., classes, classes)`` counts, rows the true class. Counts may be fractional (averaged over seeds).

    Returns:
        Metric name to an array of shape ``(...)``.
    """
    counts = np.asarray(confusions, dtype=np.float64)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    true, guessed = counts.sum(axis=-1), counts.sum(axis=-2)
    present = true > 0
    total, classes = true.sum(axis=-1), present.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(present, right / true, 0.0)
        f1 = np.where(present, 2 * right / (true + guessed), 0.0)
        return {
            "WA": right.sum(axis=-1) / total,
            "UWA": recall.sum(axis=-1) / classes,
            "WF1": (f1 * true).sum(axis=-1) / total,
            "UWF1": f1.sum(axis=-1) / classes,
        }


# Confusion matrices per speaker, and which speakers are independent: all that the tests need.
#
# Speakers are the units of inference. Utterances of one speaker are alike, seeds of one model are alike, so neither counts
# as an independent observation; a corpus with 10 speakers has 10 observations, however long they talk.
#
# Speakers that one trained model tested are alike too: they share the luck of its training part, which further seeds repeat.
# So speakers that trained models link form one *group*: a session under leave-one-session-out, a speaker under leave-one-
# speaker-out, and all speakers together where one split serves all. A verdict about the methods needs `ENOUGH` groups; with
# fewer, results speak about these trained models only.
ENOUGH = 5  # independent groups; the field's usual number of folds


@dataclass(frozen=True)
class UnitCounts:
    """Pooled test predictions of one row, by speaker.

    Attributes:
        kind: What a unit is: ``speaker``; ``session`` or ``dialogue`` where speakers are unknown; else ``fold``.
        units: Their names, sorted.
        counts: ``(units, classes, classes)``, rows the true class, averaged over seeds (so possibly fractional).
        groups: ``(units,)``, from 0; units of one group were tested by the same trained models, directly or by a chain.
    """

    kind: str
    units: tuple[str, ...]
    counts: np.ndarray
    groups: np.ndarray

    @property
    def independent(self) -> int:
        """How many groups there are."""
        return int(self.groups.max(initial=-1)) + 1

    @property
    def general(self) -> bool:
        """Whether results hold for the methods, not only for these trained models: at least ``ENOUGH`` groups."""
        return self.independent >= ENOUGH

    @property
    def replicates(self) -> np.ndarray:
        """What intervals are taken over, ``(n, classes, classes)``: the groups where there are enough, else the units."""
        if not self.general or self.independent == len(self.units):
            return self.counts
        summed = np.zeros((self.independent, *self.counts.shape[1:]))
        np.add.at(summed, self.groups, self.counts)
        return summed

    @property
    def pooled(self) -> np.ndarray:
        """The pooled confusion matrix ``(classes, classes)``."""
        return self.counts.sum(axis=0)


def independent_groups(units: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Groups of units that no trained model links.

    Args:
        units, folds: ``(n,)`` codes from 0; pair i says that the model of this fold tested this unit.

    Returns:
        ``(units,)`` group numbers from 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = int(units.max(initial=-1)) + 1
    size = n + int(folds.max(initial=-1)) + 1
    links = coo_array((np.ones(len(units), dtype=np.int8), (units, n + folds)), shape=(size, size))
    return np.unique(connected_components(links, directed=False)[1][:n], return_inverse=True)[1]


def unit_counts(
    predictions: pd.DataFrame, utterances: pd.DataFrame, classes: Sequence[str], kind: str | None = None
) -> UnitCounts:
    """Sums the predictions of one row by speaker; an utterance's seeds (and folds) share its weight of one.

    Args:
        predictions: ``id, fold, seed, label, predicted`` of one row.
        utterances: Index = id, with the unit's column.
        classes: Class names in order.
        kind: The unit; default by ``unit_kind``.
    """
    kind = kind or unit_kind(utterances)
    owner = predictions["fold"] if kind == "fold" else predictions["id"].map(utterances[kind])
    codes, names = pd.factorize(owner.astype(str), sort=True)
    k = len(classes)
    cell = (codes * k + class_positions(predictions["label"], classes)) * k + class_positions(
        predictions["predicted"], classes
    )
    weight = 1.0 / predictions.groupby("id", sort=False)["seed"].transform("size").to_numpy()
    counts = np.bincount(cell, weights=weight, minlength=len(names) * k * k)
    groups = independent_groups(codes, pd.factorize(predictions["fold"])[0])
    return UnitCounts(kind, tuple(str(name) for name in names), counts.reshape(len(names), k, k), groups)
