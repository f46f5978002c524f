"""Two rows of one table against each other: test, interval, what the design could have shown, and a plain sentence."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ser_fusion.evaluation.families import EXPLORATORY, PRIMARY, holm
from ser_fusion.evaluation.intervals import CorrectedT, corrected_t, difference_interval
from ser_fusion.evaluation.metrics import summarise
from ser_fusion.evaluation.swap_test import DRAWS, swap_test
from ser_fusion.evaluation.units import UnitCounts

ALPHA = 0.05


@dataclass(frozen=True)
class Judged:
    """One row as the tests see it.

    Attributes:
        name, slug: of the row.
        units: confusion matrices per speaker.
        fold_scores: fold name to score by metric, averaged over seeds.
    """

    name: str
    slug: str
    units: UnitCounts
    fold_scores: dict[str, dict[str, float]]

    @classmethod
    def of(cls, row: dict[str, Any], predictions: pd.DataFrame, units: UnitCounts, classes: Sequence[str]) -> "Judged":
        """From a row's information, its predictions and their counts per speaker."""
        folds = summarise(predictions, classes)["folds"]
        return cls(str(row["name"]), str(row["slug"]), units, {str(fold["fold"]): fold for fold in folds})


@dataclass(frozen=True)
class Comparison:
    """A - B in one metric. Differences, errors and bounds in [-1, 1]; `p_holm` is None outside the declared families."""

    a: str
    b: str
    slug_a: str
    slug_b: str
    metric: str
    family: str
    difference: float
    low: float
    high: float
    error: float
    detectable: float
    p: float
    p_holm: float | None
    unit: str
    units: int
    exact: bool
    assignments: int
    corrected: CorrectedT | None
    family_size: int = 1

    @property
    def smallest(self) -> float:
        """The smallest p-value that this design can give: all speakers agree, times the family's first Holm factor."""
        return min(2.0 / 2.0**self.units * self.family_size, 1.0)

    @property
    def significant(self) -> bool:
        """Whether the declared test, corrected where it belongs to a family, rejects at 5 %."""
        return (self.p if self.p_holm is None else self.p_holm) < ALPHA

    def sentence(self) -> str:
        """The result in words, in points (hundredths)."""
        p = f"p = {_p(self.p)}" + ("" if self.p_holm is None else f" (Holm {_p(self.p_holm)})")
        text = f"{self.a} - {self.b} = {100 * self.difference:+.1f} points {self.metric}"
        if np.isfinite(self.low):
            text += f", 95 % CI [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"
        text += f", {p}, {self.units} {self.unit}s: "
        if self.significant:
            better = self.a if self.difference > 0 else self.b
            text += f"{better} is better" + (" (exploratory)" if self.family == EXPLORATORY else "")
        elif self.smallest >= ALPHA:
            many = f" of {self.family_size} comparisons" if self.family_size > 1 else ""
            text += (
                f"{self.units} {self.unit}s are too few for a test{many}: its smallest p-value is {_p(self.smallest)}"
            )
        elif self.p < ALPHA:
            text += f"no difference shown once {self.family_size} comparisons are corrected for"
        else:
            text += "no difference shown"
        if np.isfinite(self.detectable):
            text += f"; this design could show {100 * self.detectable:.1f} points with 80 % power"
        return text

    def as_dict(self) -> dict[str, Any]:
        """Plain data for metrics.json."""
        return {**asdict(self), "significant": self.significant, "sentence": self.sentence()}


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def compare_rows(
    a: Judged,
    b: Judged,
    *,
    metric: str = "UWA",
    family: str = EXPLORATORY,
    sizes: dict[str, tuple[int, int]] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compares two rows that were scored on the same utterances and folds.

    Args:
        a, b: the rows.
        metric: one of `METRICS`.
        family: `primary`, `ablation` or `exploratory`; correction over a family is `correct_families`.
        sizes: fold name to (test utterances, training utterances), for the corrected t-test; without it, none is given.
        draws, seed: of the swap test where speakers are many.
    """
    test = swap_test(a.units.counts, b.units.counts, metric, draws=draws, seed=seed)
    interval = difference_interval(a.units.counts, b.units.counts, metric)
    corrected = None
    shared = [fold for fold in a.fold_scores if fold in b.fold_scores and sizes and fold in sizes]
    if sizes and len(shared) > 1:
        gaps = np.array([a.fold_scores[fold][metric] - b.fold_scores[fold][metric] for fold in shared])
        tests, trains = np.array([sizes[fold] for fold in shared], dtype=float).T
        corrected = corrected_t(gaps, tests, trains)
    return Comparison(
        a=a.name,
        b=b.name,
        slug_a=a.slug,
        slug_b=b.slug,
        metric=metric,
        family=family,
        difference=test.difference,
        low=interval.low,
        high=interval.high,
        error=interval.error,
        detectable=interval.detectable,
        p=test.p,
        p_holm=None,
        unit=a.units.kind,
        units=test.units,
        exact=test.exact,
        assignments=test.assignments,
        corrected=corrected,
    )


def correct_families(comparisons: Sequence[Comparison], planned: int = 3) -> list[Comparison]:
    """Puts Holm-corrected p-values into the declared families; exploratory pairs stay as they are.

    The primary family is corrected over the `planned` three even where a run lacks one of them, so that leaving a row out
    buys nothing.
    """
    corrected = list(comparisons)
    for family in dict.fromkeys(item.family for item in comparisons if item.family != EXPLORATORY):
        places = [i for i, item in enumerate(comparisons) if item.family == family]
        values = [comparisons[i].p for i in places]
        absent = max(planned - len(values), 0) if family == PRIMARY else 0
        for i, p in zip(places, holm(values + [1.0] * absent), strict=False):
            corrected[i] = replace(corrected[i], p_holm=p, family_size=len(values) + absent)
    return corrected


def fold_sizes(folds: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Fold name to (test, training) utterances, from `folds.csv`'s columns `id, fold, part`."""
    counts = folds.groupby(["fold", "part"]).size()
    return {
        str(fold): (int(counts.get((fold, "test"), 0)), int(counts.get((fold, "train"), 0)))
        for fold in folds["fold"].unique()
        if counts.get((fold, "train"), 0)
    }
