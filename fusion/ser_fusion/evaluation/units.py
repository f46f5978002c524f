"""Confusion matrices per speaker, and which speakers are independent: all that the tests need.

Speakers are the units of inference. Utterances of one speaker are alike, seeds of one model are alike, so neither counts
as an independent observation; a corpus with 10 speakers has 10 observations, however long they talk.

Speakers that one trained model tested are alike too: they share the luck of its training part, which further seeds repeat.
So speakers that trained models link form one *group*: a session under leave-one-session-out, a speaker under leave-one-
speaker-out, and all speakers together where one split serves all. A verdict about the methods needs `ENOUGH` groups; with
fewer, results speak about these trained models only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ser_fusion.evaluation.metrics import class_positions

UNITS = ("speaker", "session", "dialogue")
ENOUGH = 5  # independent groups; the field's usual number of folds


@dataclass(frozen=True)
class UnitCounts:
    """Pooled test predictions of one row, by speaker.

    Attributes:
        kind: what a unit is: `speaker`; `session` or `dialogue` where speakers are unknown; else `fold`.
        units: their names, sorted.
        counts: `(units, classes, classes)`, rows the true class, averaged over seeds (so possibly fractional).
        groups: `(units,)`, from 0; units of one group were tested by the same trained models, directly or by a chain.
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
        """Whether results hold for the methods, not only for these trained models: at least `ENOUGH` groups."""
        return self.independent >= ENOUGH

    @property
    def replicates(self) -> np.ndarray:
        """What intervals are taken over, `(n, classes, classes)`: the groups where there are enough, else the units."""
        if not self.general or self.independent == len(self.units):
            return self.counts
        summed = np.zeros((self.independent, *self.counts.shape[1:]))
        np.add.at(summed, self.groups, self.counts)
        return summed

    @property
    def pooled(self) -> np.ndarray:
        """The pooled confusion matrix `(classes, classes)`."""
        return self.counts.sum(axis=0)


def independent_groups(units: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Groups of units that no trained model links.

    Args:
        units, folds: `(n,)` codes from 0; pair i says that the model of this fold tested this unit.

    Returns:
        `(units,)` group numbers from 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = int(units.max(initial=-1)) + 1
    size = n + int(folds.max(initial=-1)) + 1
    links = coo_array((np.ones(len(units), dtype=np.int8), (units, n + folds)), shape=(size, size))
    return np.unique(connected_components(links, directed=False)[1][:n], return_inverse=True)[1]


def unit_kind(utterances: pd.DataFrame) -> str:
    """The finest honest unit that the corpus declares for every utterance."""
    for kind in UNITS:
        if kind in utterances and utterances[kind].notna().all() and utterances[kind].nunique() > 1:
            return kind
    return "fold"


def speakers_of(utterances: pd.DataFrame) -> "pd.Series[str] | None":
    """The unit of each utterance, by id; None where the corpus declares none."""
    kind = unit_kind(utterances)
    return None if kind == "fold" else utterances[kind].astype(str)


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
    groups = independent_groups(codes, pd.factorize(predictions["fold"])[0])
    return UnitCounts(kind, tuple(str(name) for name in names), counts.reshape(len(names), k, k), groups)
