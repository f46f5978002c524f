"""Inner folds: the outer training part cut by what the protocol holds out. The outer test part is not looked at.

What the outer folds keep apart, the inner ones keep apart too, where enough is left to train on: under ``session+scenario`` an
inner fold is a group of sessions within a group of scenarios, and trains on other sessions within other scenarios.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_data.protocols.base import SOURCE, balanced_groups
from ser_data.protocols.folds import SPARSE, key_values
from ser_fusion.study.separation import Separation

if TYPE_CHECKING:
    from ser_fusion.study.open import Study

ORDER = ("corpus", "session", "speaker", "scenario", "dialogue")
Rows = NDArray[np.int64]
Parts = Mapping[str, Rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """The inner folds of one outer fold.

    Attributes:
        key: Column whose values stay whole.
        held_out: Keys of which no value is both in an inner fold's test part and in what it learns from.
        lacking: Keys that the outer folds hold out and the inner ones cannot.
        folds: Per inner fold its rows: ``train``, ``dev``, ``test``.
    """

    key: str
    held_out: tuple[str, ...]
    lacking: tuple[str, ...]
    folds: tuple[Parts, ...]


def inner_folds(study: "Study", parts: Parts, count: int, apart: Separation) -> Inner:
    """Parts of a training part, each held out once.

    The groups are the values of one key: the first of corpus, session, speaker, scenario and dialogue that the protocol holds
    out and that has two values or more in the training part. Without such a key they are speakers or dialogues, else single
    utterances (column ``id``).

    Args:
        study: The study whose groups are held out.
        parts: ``train`` and ``dev`` of the outer fold.
        count: Maximum number of inner folds; never more than there are groups.
        apart: What keeps the study's rows apart.
    """
    train, asked = parts["train"], study.folds.held_out
    for key in (*(name for name in ORDER if name in asked), "speaker", "dialogue", SOURCE, "id"):
        if key not in study.table:
            continue
        column = pd.Series(key_values(study.table, key)[train])
        if column.notna().all() and column.nunique() > 1:
            break
    numbers = _grouped(column, count)
    kept = [name for name in asked if name in apart.values]
    crossing = {}
    for name in kept:
        values = pd.Series(key_values(study.table, name)[train])
        if name in SPARSE or name == SOURCE or values.isna().any():
            continue
        if pd.Series(numbers).groupby(values).nunique().max() > 1:
            crossing[name] = _grouped(values, count)
    while True:
        made = _cut(study, parts, apart, numbers, crossing, kept)
        if made is not None:
            break
        kept.remove(crossing.popitem()[0] if crossing else kept[-1])
    folds, separated = made
    return Inner(key=key, held_out=separated, lacking=tuple(n for n in asked if n not in separated), folds=folds)


def _grouped(column: "pd.Series[str]", count: int) -> Rows:
    groups = balanced_groups(column, count)
    return np.array([groups[value] for value in column], dtype=np.int64)


def _cut(
    study: "Study", parts: Parts, apart: Separation, numbers: Rows, crossing: Mapping[str, Rows], keys: Sequence[str]
) -> tuple[tuple[Parts, ...], tuple[str, ...]] | None:
    """Inner folds that keep these keys apart, and the keys; None where one of them would have too little left."""
    train, dev, targets = parts["train"], parts["dev"], study.targets
    folds: list[Parts] = []
    for number in range(int(numbers.max()) + 1):
        for shift in range(max((int(other.max()) + 1 for other in crossing.values()), default=1)):
            inside = numbers == number
            for other in crossing.values():
                inside &= other == (number + shift) % (int(other.max()) + 1)
            held, rest = train[inside], train[~inside]
            left, stops = (apart.without(rows, held, keys) for rows in (rest, dev))
            scores = bool((targets[held] >= 0).any()) or not crossing
            lost = set(targets[rest].tolist()) - set(targets[left].tolist()) - {-1}
            if not keys or (scores and not lost and (len(stops) or not len(dev))):
                folds.append({"train": left, "dev": stops, "test": held})
                break
        else:
            return None
    return tuple(folds), tuple(keys)
