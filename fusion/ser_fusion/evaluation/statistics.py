"""Intervals over independent replicates, and the declared test of a difference.

A replicate is a speaker, or a group of speakers that share trained models (``UnitCounts.replicates``). The interval is
Student's t over the replicates' jackknife pseudo-values: leave each one out once, see how much the pooled score moves. It
covers what it says with five groups or ten speakers, where a percentile bootstrap over speakers does not.

The test of a difference is the one that the design allows. Every speaker has trained models of its own (leave one speaker out):
whole speakers are swapped (``swap_test``). Several speakers share trained models (sessions, folds of speakers): Student's t over
groups of speakers that no trained model links. Swapping speakers there keeps the luck of a training part, and calls equal methods
different. Fewer than ``ENOUGH`` groups (one split for all speakers): speakers are swapped, and the result is about these trained
models. ``tests/benchmarks/bench_statistics.py`` measures the level and the coverage of each case.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ser_fusion.evaluation.metrics import UnitCounts, independent_groups, scores_of


@dataclass(frozen=True)
class Interval:
    """Estimate, standard error and 95 % interval, in the score's own unit; ``units`` is the number of replicates."""

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
        estimate: Of all replicates.
        left_out: ``(units,)``, the estimate without each replicate.
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
    """Interval of one row's pooled score. ``counts``: ``(units, classes, classes)``."""
    whole = counts.sum(axis=0)
    return jackknife(float(scores_of(whole)[metric]), scores_of(whole - counts)[metric])


def difference_interval(a: np.ndarray, b: np.ndarray, metric: str) -> Interval:
    """Interval of A - B, paired by replicate. ``a``, ``b``: ``(units, classes, classes)``."""
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
        differences: ``(groups,)`` of A - B, each averaged over seeds first.
        ratio: Test utterances of a group for each training utterance of a fold.

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
    """Two one-sided tests of a score against a value: ``p`` below .05 says that it lies within ``margin`` of it."""

    value: float
    margin: float
    p: float

    @property
    def equivalent(self) -> bool:
        """Whether equivalence is shown at 5 %."""
        return self.p < 0.05


def equivalence(interval: Interval, value: float, margin: float = 0.03) -> Equivalence:
    """Is the score equivalent to ``value`` (chance, 1/K) within ``margin``? A constant score of exactly ``value`` is."""
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


# Swap two models' predictions of whole speakers and recompute the pooled score.
#
# If the two models were equally good, it would not matter which of them predicted a speaker. Every one of the 2^S ways of
# swapping speakers is then as likely as the one observed, and the p-value is the share of ways that give a difference at
# least as large (two-sided). Exact up to 15 speakers, 20,000 seeded draws above. It holds for the methods where every speaker
# has trained models of its own; `difference_test` says what is tested elsewhere.
EXACT_TO = 15
DRAWS = 20_000
_CHUNK = 8192


@dataclass(frozen=True)
class SwapTest:
    """Outcome of a swap test.

    Attributes:
        difference: Score of A minus score of B, in [-1, 1].
        p: Two-sided p-value.
        units: Number of speakers.
        exact: Whether all assignments were enumerated.
        assignments: How many were looked at.
    """

    difference: float
    p: float
    units: int
    exact: bool
    assignments: int


def all_swaps(units: int) -> np.ndarray:
    """Every assignment as rows of 0/1 ``(2^(units - 1), units)``; unit 0 stays, since swapping all only turns the sign."""
    numbers = np.arange(2 ** max(units - 1, 0), dtype=np.int64)[:, None]
    swaps = (numbers >> np.arange(units - 1)) & 1
    return np.concatenate([np.zeros((len(numbers), 1), dtype=np.int64), swaps], axis=1)


def swap_differences(a: np.ndarray, b: np.ndarray, swaps: np.ndarray, metric: str) -> np.ndarray:
    """Difference of the pooled scores for every assignment.

    Args:
        a, b: ``(units, classes, classes)`` confusion matrices per speaker.
        swaps: ``(assignments, units)`` of 0 and 1.
        metric: One of ``METRICS``.

    Returns:
        ``(assignments,)``.
    """
    if metric in ("WA", "UWA"):  # linear in the counts: swapping a speaker turns the sign of the speaker's share
        true = a.sum(axis=(0, 2))
        present = true > 0
        right = np.diagonal(a - b, axis1=1, axis2=2)
        if metric == "WA":
            share = right.sum(axis=1) / true.sum()
        else:
            share = (right[:, present] / true[present]).sum(axis=1) / present.sum()
        return (1 - 2 * swaps) @ share
    units, k = a.shape[0], a.shape[-1]
    gap = (b - a).reshape(units, k * k)
    whole_a, whole_b = a.sum(axis=0).ravel(), b.sum(axis=0).ravel()
    differences = np.empty(len(swaps))
    for start in range(0, len(swaps), _CHUNK):
        moved = swaps[start : start + _CHUNK] @ gap
        left = scores_of((whole_a + moved).reshape(-1, k, k))[metric]
        differences[start : start + _CHUNK] = left - scores_of((whole_b - moved).reshape(-1, k, k))[metric]
    return differences


def swap_test(
    a: np.ndarray, b: np.ndarray, metric: str = "UWA", *, draws: int = DRAWS, seed: int = 0, exact_to: int = EXACT_TO
) -> SwapTest:
    """Tests whether A and B score the same.

    Args:
        a, b: ``(units, classes, classes)`` confusion matrices per speaker, same speakers and true counts in both.
        metric: One of ``METRICS``; the primary one is UWA.
        draws: Assignments drawn where there are more than ``exact_to`` speakers.
        seed: Of the draws.
        exact_to: Largest number of speakers for which all assignments are enumerated.
    """
    if a.shape != b.shape or not np.allclose(a.sum(axis=2), b.sum(axis=2)):
        raise ValueError("the two rows do not score the same utterances; compare rows of the same folds")
    exact = len(a) <= exact_to
    swaps = all_swaps(len(a)) if exact else np.random.default_rng(seed).integers(0, 2, size=(draws, len(a)))
    observed = float(scores_of(a.sum(axis=0))[metric] - scores_of(b.sum(axis=0))[metric])
    extreme = int((np.abs(swap_differences(a, b, swaps, metric)) >= abs(observed) - 1e-12).sum())
    p = extreme / len(swaps) if exact else (extreme + 1) / (len(swaps) + 1)
    return SwapTest(observed, float(p), len(a), exact, 2 * len(swaps) if exact else len(swaps))


@dataclass(frozen=True)
class DifferenceTest:
    """A - B in one metric.

    Attributes:
        interval: Estimate, standard error and 95 % interval; over groups where ``swap`` is None, else over units.
        swap: The swap test; None where Student's t over groups is the test.
        units, groups: How many speakers, and how many groups of them that no trained model links.
        general: Whether the p-value and the interval hold for the methods, not only for these trained models.
    """

    interval: Interval
    swap: SwapTest | None
    units: int
    groups: int
    general: bool

    @property
    def p(self) -> float:
        """Two-sided p-value."""
        return self.interval.p if self.swap is None else self.swap.p


def difference_test(
    a: UnitCounts, b: UnitCounts, metric: str = "UWA", *, draws: int = DRAWS, seed: int = 0
) -> DifferenceTest:
    """Tests whether A and B score the same.

    Args:
        a, b: The rows' counts; same units in the same order, same utterances.
        metric: One of ``METRICS``.
        draws, seed: Of the swap test where speakers are many.
    """
    a, b = joint_groups(a, b)
    shared = a.general and a.independent < len(a.units)
    swap = None if shared else swap_test(a.counts, b.counts, metric, draws=draws, seed=seed)
    interval = difference_interval(a.replicates, b.replicates, metric)
    return DifferenceTest(interval, swap, len(a.units), a.independent, a.general)


def joint_groups(a: UnitCounts, b: UnitCounts) -> tuple[UnitCounts, UnitCounts]:
    """Both rows with the groups that neither row's trained models link; they differ where folds are named otherwise."""
    if np.array_equal(a.groups, b.groups):
        return a, b
    links = np.concatenate([a.groups, a.independent + b.groups])
    groups = independent_groups(np.tile(np.arange(len(a.units)), 2), links)
    return UnitCounts(a.kind, a.units, a.counts, groups), UnitCounts(b.kind, b.units, b.counts, groups)


# The smallest true difference that the declared test finds four times in five, in standard errors.
#
# It is that of the test that is really made: at 5 % divided by the comparisons of its family (Holm's first step), with the
# few p-values that a swap test of ten speakers has.
POWER = 0.80
FEWEST = 7  # units; below, a swap test of a family of three cannot reject at all
_SIMULATED_TO = 10  # speakers; above, the swap test's power is that of the t-test within 2 %
_STUDIES = 4000


@lru_cache
def detectable_errors(replicates: int, alpha: float, *, swap: bool) -> float:
    """The smallest true difference in standard errors that a two-sided test at ``alpha`` finds with 80 % power.

    Args:
        replicates: Speakers, or independent groups of them.
        alpha: Level of the single comparison, below 1.
        swap: Whether the test swaps whole speakers, else Student's t.

    Returns:
        A positive number; NaN where the test cannot reach 80 % whatever the difference.
    """
    if replicates < 2 or (swap and 2.0 ** (1 - replicates) >= alpha):
        return float("nan")
    return _of_swaps(replicates, alpha) if swap and replicates <= _SIMULATED_TO else _of_t(replicates - 1, alpha)


def _of_t(freedom: int, alpha: float) -> float:
    """Where the noncentral t passes 80 % beyond the critical value; the far tail is below 1e-4 there."""
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    cut = float(t.ppf(1 - alpha / 2, freedom))
    return float(brentq(lambda shift: nct.sf(cut, freedom, shift) - POWER, 0.0, 3 * cut + 10))


def _of_swaps(speakers: int, alpha: float) -> float:
    """Simulated: normal speakers, every assignment, the same draws for every difference tried."""
    from scipy.optimize import brentq

    noise = np.random.default_rng(0).normal(size=(_STUDIES, speakers))
    signs = 1 - 2 * all_swaps(speakers).T

    def power(shift: float) -> float:
        sums = np.abs((noise + shift / np.sqrt(speakers)) @ signs)  # the first assignment swaps nobody
        return float(((sums >= sums[:, :1] - 1e-9).mean(axis=1) < alpha).mean())

    return float(brentq(lambda shift: power(shift) - POWER, 0.0, 40.0, xtol=0.005))
