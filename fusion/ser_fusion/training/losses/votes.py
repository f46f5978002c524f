"""Annotators' votes as targets: a class distribution for every turn, and turns without a majority that may train.

Sources: Fayek, Lech & Cavedon, IJCNN 2016 (soft labels from annotators in SER); Chou et al. 2022 (arXiv:2203.04443; all
votes, also of turns without agreement). A turn without a majority (no label, or one such as IEMOCAP's ``xxx`` that nobody
voted for) does not have a right answer, so it is never scored. Its votes still train.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.training.losses.levers import LeverImpossible

if TYPE_CHECKING:
    import pandas as pd

    from ser_data.manifest.labels import LabelScheme

_REMEDY = (
    'Use --targets majority, or a manifest whose column votes holds objects such as {"ang": 2, "fru": 1} (--manifest).'
)


@dataclass(frozen=True, slots=True)
class Votes:
    """The votes of a study's annotators.

    Attributes:
        own: Distributions of the study's utterances, (utterances, classes) float32; one-hot where nobody's vote is known.
        more: Ids of turns without a majority of which more than half of the votes are for the study's classes.
        others: Their distributions, (more, classes) float32.
        unvoted: How many of the study's utterances have no vote for any of its classes.
    """

    own: NDArray[np.float32]
    more: tuple[str, ...]
    others: NDArray[np.float32]
    unvoted: int


def read_votes(
    table: "pd.DataFrame",
    scheme: "LabelScheme",
    classes: Sequence[str],
    ids: Sequence[str],
    targets: NDArray[np.int64],
) -> Votes:
    """The votes of a manifest, as distributions over a study's classes.

    Args:
        table: The manifest's table: columns id, label, votes.
        scheme: Which label is which class.
        classes: The study's classes.
        ids: Ids of the study's utterances, in its order.
        targets: Their class numbers.

    Raises:
        LeverImpossible: The manifest has no votes, or some that cannot be read.
    """
    rows = {str(row["id"]): row for row in table[["id", "label", "votes"]].to_dict("records")}
    counted = {name: _counts(name, row["votes"]) for name, row in rows.items() if isinstance(row["votes"], str)}
    if not any(counted.get(name) for name in ids):
        raise LeverImpossible("--targets votes", f"none of the {len(ids):,} labelled utterances has votes", _REMEDY)
    own = np.eye(len(classes), dtype=np.float32)[targets]
    unvoted = 0
    for number, name in enumerate(ids):
        mass, _ = _shares(counted.get(name, {}), scheme, classes)
        if mass.sum():
            own[number] = mass / mass.sum()
        else:
            unvoted += 1
    mine, more, others = set(ids), [], []
    for name, counts in sorted(counted.items()):
        if name in mine or rows[name]["label"] in counts:
            continue
        mass, total = _shares(counts, scheme, classes)
        if 2 * mass.sum() > total and scheme.mapping.get(rows[name]["label"]) is None:
            more.append(name)
            others.append(mass / mass.sum())
    stacked = np.stack(others) if others else np.zeros((0, len(classes)))
    return Votes(own, tuple(more), stacked.astype(np.float32), unvoted)


def _counts(name: str, text: str) -> dict[str, float]:
    try:
        votes = json.loads(text)
        counts = {str(label): float(count) for label, count in votes.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise LeverImpossible(
            "--targets votes", f"the votes of {name} cannot be read ({text[:60]!r})", _REMEDY
        ) from error
    if any(not 0 <= count < float("inf") for count in counts.values()):
        raise LeverImpossible("--targets votes", f"the votes of {name} are not counts ({text[:60]!r})", _REMEDY)
    return counts


def _shares(
    counts: Mapping[str, float], scheme: "LabelScheme", classes: Sequence[str]
) -> tuple[NDArray[np.float64], float]:
    """Votes per class, and all votes."""
    mass: NDArray[Any] = np.zeros(len(classes))
    for label, count in counts.items():
        kind = scheme.mapping.get(label)
        if kind in classes:
            mass[classes.index(kind)] += count
    return mass, float(sum(counts.values()))
