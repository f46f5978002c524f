"""Two rows of one table against each other: test, interval, what the design could have shown, and a plain sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ser_fusion.evaluation.metrics import ENOUGH, UnitCounts, scores_of
from ser_fusion.evaluation.statistics import (
    DRAWS,
    FEWEST,
    CorrectedT,
    DifferenceTest,
    corrected_t,
    detectable_errors,
    difference_test,
    joint_groups,
)

# Which comparisons were declared beforehand, and which are looked at because they are there.
#
# Primary, on UWA only, Holm over three: self - cross, the named head - audio, the named head - text. The named head is
# declared with the first job of a run directory (`declared` in run.json), by default cross, the study's question. Second family: ablations,
# pairs of heads of one fusion that differ in pooling, text input or preset. All else is exploratory and not corrected.
PRIMARY, ABLATION, EXPLORATORY = "primary", "ablation", "exploratory"
DEFAULT_NAMED = "cross"
DERIVED = (
    "ensemble",
    "lost",
    "stacked",
)  # rows made of trained ones: compared with these only, and never called the best


def trained_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that were trained, without the transductive ones unless there are no others."""
    trained = [row for row in rows if row.get("kind") not in ("reference", *DERIVED)]
    return [row for row in trained if not row.get("transductive")] or trained


def _whole_heads(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Heads that saw all training speakers (``fraction`` 1)."""
    return [
        row for row in trained_rows(rows) if row.get("kind") == "head" and row.get("fraction", 1.0) in (None, 1, 1.0)
    ]


def _first(rows: Sequence[dict[str, Any]], fusion: str) -> str | None:
    return next((row["slug"] for row in rows if row.get("fusion") == fusion), None)


def primary_pairs(rows: Sequence[dict[str, Any]], named: str = DEFAULT_NAMED) -> list[tuple[str, str]]:
    """Slugs of the declared pairs that this run can answer; of several rows of one fusion the first in the table counts.

    Args:
        rows: Row information of the trained heads, in the table's order.
        named: Slug or fusion of the head declared beforehand.
    """
    heads = _whole_heads(rows)
    chosen = next((row["slug"] for row in heads if row["slug"] == named), None) or _first(heads, named)
    wanted = [
        (_first(heads, "self"), _first(heads, "cross")),
        (chosen, _first(heads, "audio")),
        (chosen, _first(heads, "text")),
    ]
    return [(a, b) for a, b in wanted if a and b and a != b]


def ablation_pairs(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Slugs of pairs of one fusion: the first row of each fusion against its variants."""
    pairs = []
    heads = _whole_heads(rows)
    for fusion in dict.fromkeys(row.get("fusion") for row in heads):
        first, *variants = [row["slug"] for row in heads if row.get("fusion") == fusion]
        pairs += [(first, variant) for variant in variants]
    return pairs


def named_head(run: Mapping[str, Any]) -> str:
    """The named head of the last command, from ``run.json``."""
    return str(run.get("job", {}).get("named_head") or DEFAULT_NAMED)


def first_declared(rows: Sequence[dict[str, Any]], run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The primary pairs of the first declaration; those of the job where a run is too old to have kept it.

    Args:
        rows: Row information, in the table's order.
        run: ``run.json``.
    """
    declared = run.get("declared")
    if declared is None:
        return primary_pairs(rows, named_head(run))
    slugs = {row["slug"] for row in _whole_heads(rows)}
    return [(pair["a"], pair["b"]) for pair in declared["primary"] if {pair["a"], pair["b"]} <= slugs]


def declared_later(rows: Sequence[dict[str, Any]], run: Mapping[str, Any]) -> dict[frozenset[str], str]:
    """Pairs that a later command declared, with the words that make them exploratory."""
    declared, notes = run.get("declared"), dict[frozenset[str], str]()
    if declared is None:
        return notes
    first = first_declared(rows, run)
    for entry in run.get("asked", []):
        named = entry["job"].get("named_head", DEFAULT_NAMED)
        for pair in primary_pairs(rows, named):
            if pair not in first:
                since = f"the first declaration ({declared['named_head']}, {declared['time'] or 'time not kept'})"
                notes.setdefault(frozenset(pair), f"exploratory: {named} was named at {entry['time']}, after {since}")
    return notes


def declared_pairs(
    rows: Sequence[dict[str, Any]], named: str = DEFAULT_NAMED, primary: Sequence[tuple[str, str]] | None = None
) -> list[tuple[str, str, str]]:
    """All pairs of trained rows as (family, a, b); primary first, then ablations, then the rest.

    Args:
        rows: Row information, in the table's order.
        named: Slug or fusion of the head declared beforehand.
        primary: The primary pairs, where a run kept its declaration.
    """
    families = [(PRIMARY, a, b) for a, b in (primary_pairs(rows, named) if primary is None else primary)]
    first = {frozenset(pair[1:]) for pair in families}
    families += [(ABLATION, a, b) for a, b in ablation_pairs(rows) if frozenset((a, b)) not in first]
    done = {frozenset(pair[1:]) for pair in families}
    slugs = [row["slug"] for row in rows if row.get("kind") in ("head", "classifier")]
    all_slugs = {row["slug"] for row in rows}
    made = [row for row in rows if row.get("kind") in DERIVED and row.get("of") in all_slugs]
    families += [(EXPLORATORY, row["slug"], str(row["of"])) for row in made]
    return families + [(EXPLORATORY, a, b) for a, b in combinations(slugs, 2) if frozenset((a, b)) not in done]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down corrected p-values, in the order given."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]] if len(p_values) else []


ALPHA = 0.05


@dataclass(frozen=True)
class Judged:
    """One row as the tests see it.

    Attributes:
        name, slug: Of the row.
        units: Confusion matrices per speaker.
    """

    name: str
    slug: str
    units: UnitCounts


@dataclass(frozen=True)
class Comparison:
    """A - B in one metric. Differences, errors and bounds in [-1, 1].

    Attributes:
        p_holm: None outside the declared families.
        test: ``swap`` (whole speakers) or ``t`` (over groups of speakers that no trained model links).
        units, groups: How many speakers, and groups of them that no trained model links.
        general: Whether the result holds for the methods; else it is about these trained models.
        exact, assignments: Of the swap test; False and 0 otherwise.
        corrected: The Nadeau-Bengio test, where results hold for the methods.
        family_size: Comparisons that Holm's correction counts.
        note: Why the pair is exploratory although it may look declared; ends the sentence.
    """

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
    p: float
    p_holm: float | None
    test: str
    unit: str
    units: int
    groups: int
    general: bool
    exact: bool
    assignments: int
    corrected: CorrectedT | None
    family_size: int = 1
    note: str = ""

    @property
    def smallest(self) -> float:
        """The smallest p-value that this design can give, times the family's first Holm factor."""
        return min(2.0 / 2.0**self.units * self.family_size, 1.0) if self.test == "swap" else 0.0

    @property
    def detectable(self) -> float:
        """Smallest true difference that the declared test, corrected for its family, finds with 80 % power; NaN if none."""
        if not self.general or self.units < FEWEST:
            return float("nan")
        swap = self.test == "swap"
        return self.error * detectable_errors(self.units if swap else self.groups, ALPHA / self.family_size, swap=swap)

    @property
    def rejected(self) -> bool:
        """Whether the declared test, corrected where it belongs to a family, rejects at 5 %."""
        return (self.p if self.p_holm is None else self.p_holm) < ALPHA

    @property
    def significant(self) -> bool:
        """Whether that is a verdict on the methods."""
        return self.general and self.rejected

    def sentence(self) -> str:
        """The result in words, in points (hundredths)."""
        p = f"p = {_p(self.p)}".replace("= <", "<") + ("" if self.p_holm is None else f" (Holm {_p(self.p_holm)})")
        text = f"{self.a} - {self.b} = {100 * self.difference:+.1f} points {self.metric}"
        if np.isfinite(self.low):
            text += f", 95 % CI [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"
        text += f", {p}, {self.units} {self.unit}s"
        if self.test == "t":
            text += f" in {self.groups} groups that share no trained model"
        text += ": " + self._outcome()
        if not self.general:
            text += f"; this is about these trained models, not about the methods ({too_few_groups(self.groups)})"
        elif np.isfinite(self.detectable):
            text += f"; this design could show {100 * self.detectable:.1f} points with 80 % power"
        return text + (f"; {self.note}" if self.note else "")

    def _outcome(self) -> str:
        if self.rejected:
            better = self.a if self.difference > 0 else self.b
            return f"{better} is better" + (" (exploratory)" if self.family == EXPLORATORY else "")
        if self.smallest >= ALPHA:
            many = f" of {self.family_size} comparisons" if self.family_size > 1 else ""
            return (
                f"{self.units} {self.unit}s are too few for a test{many}: its smallest p-value is {_p(self.smallest)}"
            )
        if self.p < ALPHA:
            return f"no difference shown once {self.family_size} comparisons are corrected for"
        return "no difference shown"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for metrics.json."""
        more = {"detectable": self.detectable, "significant": self.significant, "sentence": self.sentence()}
        return {**asdict(self), **more}


def too_few_groups(groups: int) -> str:
    """Why a design gives no verdict on the methods."""
    if groups == 1:
        return "all speakers share trained models"
    return f"{groups} groups of speakers share no trained model, {ENOUGH} are needed"


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
        a, b: The rows.
        metric: One of ``METRICS``.
        family: ``primary``, ``ablation`` or ``exploratory``; correction over a family is ``correct_families``.
        sizes: Fold name to (test utterances, training utterances), for the corrected t-test; without it, none is given.
        draws, seed: Of the swap test where speakers are many.
    """
    test: DifferenceTest = difference_test(a.units, b.units, metric, draws=draws, seed=seed)
    interval = test.interval
    return Comparison(
        a=a.name,
        b=b.name,
        slug_a=a.slug,
        slug_b=b.slug,
        metric=metric,
        family=family,
        difference=interval.estimate,
        low=interval.low,
        high=interval.high,
        error=interval.error,
        p=test.p,
        p_holm=None,
        test="t" if test.swap is None else "swap",
        unit=a.units.kind,
        units=test.units,
        groups=test.groups,
        general=test.general,
        exact=test.swap is not None and test.swap.exact,
        assignments=0 if test.swap is None else test.swap.assignments,
        corrected=_corrected(a.units, b.units, metric, sizes) if sizes and test.general else None,
    )


def _corrected(a: UnitCounts, b: UnitCounts, metric: str, sizes: dict[str, tuple[int, int]]) -> CorrectedT:
    """Nadeau and Bengio's test over the groups; the cells of one session are one observation."""
    left, right = (group.replicates for group in joint_groups(a, b))
    training = float(np.mean([trained for _, trained in sizes.values()]))
    ratio = float(left.sum(axis=(1, 2)).mean()) / training
    return corrected_t(scores_of(left)[metric] - scores_of(right)[metric], ratio)


def correct_families(comparisons: Sequence[Comparison], planned: int = 3) -> list[Comparison]:
    """Puts Holm-corrected p-values into the declared families; exploratory pairs stay as they are.

    The primary family is corrected over the ``planned`` three even where a run lacks one of them, so that leaving a row out
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
    """Fold name to (test, training) utterances, from ``folds.csv``'s columns ``id, fold, part``."""
    counts = folds.groupby(["fold", "part"]).size()
    return {
        str(fold): (int(counts.get((fold, "test"), 0)), int(counts.get((fold, "train"), 0)))
        for fold in folds["fold"].unique()
        if counts.get((fold, "train"), 0)
    }
