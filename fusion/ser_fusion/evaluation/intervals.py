"""Intervals over independent replicates, and the corrected t-test beside them.

A replicate is a speaker, or a group of speakers that share trained models (`UnitCounts.replicates`). The interval is
Student's t over the replicates' jackknife pseudo-values: leave each one out once, see how much the pooled score moves. It
covers what it says with five groups or ten speakers, where a percentile bootstrap over speakers does not.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ser_fusion.evaluation.metrics import scores_of


@dataclass(frozen=True)
class Interval:
    """Estimate, standard error and 95 % interval, in the score's own unit; `units` is the number of replicates."""

    estimate: float
    error: float
    low: float
    high: float
    units: int

    @property
    def p(self) -> float:
        """Two-sided p-value of Student's t-test of the estimate against 0."""
        from scipy.stats import t

        if self.units < 2:
            return float("nan")
        if self.error == 0.0:
            return 1.0 if self.estimate == 0.0 else 0.0
        return float(2 * t.sf(abs(self.estimate) / self.error, self.units - 1))


@lru_cache
def _t(quantile: float, freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf(quantile, freedom))


def jackknife(estimate: float, left_out: np.ndarray, level: float = 0.95) -> Interval:
    """t-interval from leave-one-out estimates.

    Args:
        estimate: of all replicates.
        left_out: `(units,)`, the estimate without each replicate.
        level: coverage.
    """
    kept = left_out[~np.isnan(left_out)]
    n = len(kept)
    if n < 2:
        return Interval(estimate, float("nan"), float("nan"), float("nan"), n)
    error = float(np.sqrt((n - 1) / n * ((kept - kept.mean()) ** 2).sum()))
    half = _t(0.5 + level / 2, n - 1) * error
    return Interval(estimate, error, estimate - half, estimate + half, n)


def score_interval(counts: np.ndarray, metric: str) -> Interval:
    """Interval of one row's pooled score. `counts`: `(units, classes, classes)`."""
    whole = counts.sum(axis=0)
    return jackknife(float(scores_of(whole)[metric]), scores_of(whole - counts)[metric])


def difference_interval(a: np.ndarray, b: np.ndarray, metric: str) -> Interval:
    """Interval of A - B, paired by replicate. `a`, `b`: `(units, classes, classes)`."""
    whole_a, whole_b = a.sum(axis=0), b.sum(axis=0)
    estimate = float(scores_of(whole_a)[metric] - scores_of(whole_b)[metric])
    return jackknife(estimate, scores_of(whole_a - a)[metric] - scores_of(whole_b - b)[metric])


def recall_intervals(counts: np.ndarray) -> list[Interval]:
    """Interval of every class's recall, over replicates."""
    right, true = np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = right.sum(axis=0) / true.sum(axis=0)
        without = (right.sum(axis=0) - right) / (true.sum(axis=0) - true)
    return [jackknife(float(whole[k]), without[:, k]) for k in range(counts.shape[-1])]


@dataclass(frozen=True)
class CorrectedT:
    """Nadeau and Bengio's corrected resampled t-test over groups of speakers."""

    difference: float
    error: float
    p: float
    low: float
    high: float
    groups: int
    ratio: float


def corrected_t(differences: np.ndarray, ratio: float) -> CorrectedT:
    """The conservative companion: the variance over groups is enlarged by n_test / n_train, since folds share training data.

    Args:
        differences: `(groups,)` of A - B, each averaged over seeds first.
        ratio: test utterances of a group for each training utterance of a fold.

    Source: Nadeau and Bengio, Inference for the generalization error, Machine Learning 52, 2003, eq. 16.
    """
    from scipy.stats import t

    k, mean = len(differences), float(np.mean(differences))
    error = float(np.sqrt((1.0 / k + ratio) * np.var(differences, ddof=1)))
    if error == 0.0:
        return CorrectedT(mean, 0.0, 1.0 if mean == 0 else 0.0, mean, mean, k, ratio)
    half = float(t.ppf(0.975, k - 1)) * error
    return CorrectedT(mean, error, float(2 * t.sf(abs(mean) / error, k - 1)), mean - half, mean + half, k, ratio)


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of a score against a value: `p` below .05 says that it lies within `margin` of it."""

    value: float
    margin: float
    p: float

    @property
    def equivalent(self) -> bool:
        """Whether equivalence is shown at 5 %."""
        return self.p < 0.05


def equivalence(interval: Interval, value: float, margin: float = 0.03) -> Equivalence:
    """Is the score equivalent to `value` (chance, 1/K) within `margin`? A constant score of exactly `value` is."""
    from scipy.stats import t

    gap = interval.estimate - value
    if interval.units < 2 or np.isnan(interval.error):
        return Equivalence(value, margin, float("nan"))
    if interval.error == 0.0:
        return Equivalence(value, margin, 0.0 if abs(gap) < margin else 1.0)
    worst = max(
        t.sf((gap + margin) / interval.error, interval.units - 1),
        t.cdf((gap - margin) / interval.error, interval.units - 1),
    )
    return Equivalence(value, margin, float(worst))
