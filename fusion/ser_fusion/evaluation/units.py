"""Confusion matrices per speaker: all that the tests over speakers need.

Speakers are the units of inference. Utterances of one speaker are alike, seeds of one model are alike, so neither counts
as an independent observation; a corpus with 10 speakers has 10 observations, however long they talk.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ser_fusion.evaluation.metrics import class_positions

UNITS = ("speaker", "session", "dialogue")


@dataclass(frozen=True)
class UnitCounts:
    """Pooled test predictions of one row, by speaker.

    Attributes:
        kind: what a unit is: `speaker`; `session` or `dialogue` where speakers are unknown; else `fold`.
        units: their names, sorted.
        counts: `(units, classes, classes)`, rows the true class, averaged over seeds (so possibly fractional).
    """

    kind: str
    units: tuple[str, ...]
    counts: np.ndarray

    @property
    def pooled(self) -> np.ndarray:
        """The pooled confusion matrix `(classes, classes)`."""
        return self.counts.sum(axis=0)


def unit_kind(utterances: pd.DataFrame) -> str:
    """The finest honest unit that the corpus declares for every utterance."""
    for kind in UNITS:
        if kind in utterances and utterances[kind].notna().all() and utterances[kind].nunique() > 1:
            return kind
    return "fold"


def unit_counts(
    predictions: pd.DataFrame, utterances: pd.DataFrame, classes: Sequence[str], kind: str | None = None
) -> UnitCounts:
    """Sums the predictions of one row by speaker; an utterance's seeds (and folds) share its weight of one.

    Args:
        predictions: `id, fold, seed, label, predicted` of one row.
        utterances: index = id, with the unit's column.
        classes: class names in order.
        kind: the unit; default by `unit_kind`.
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
    return UnitCounts(kind, tuple(str(name) for name in names), counts.reshape(len(names), k, k))
