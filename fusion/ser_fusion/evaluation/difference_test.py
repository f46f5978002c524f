"""The declared test of a difference: which one a design allows, its p-value, and the interval beside it.

Every speaker has trained models of its own (leave one speaker out): whole speakers are swapped (`swap_test`).
Several speakers share trained models (sessions, folds of speakers): Student's t over groups of speakers that no trained
model links. Swapping speakers there keeps the luck of a training part, and calls equal methods different.
Fewer than `ENOUGH` groups (one split for all speakers): speakers are swapped, and the result is about these trained models.
`tests/benchmarks/bench_statistics.py` measures the level and the coverage of each case.
"""

from dataclasses import dataclass

import numpy as np

from ser_fusion.evaluation.intervals import Interval, difference_interval
from ser_fusion.evaluation.swap_test import DRAWS, SwapTest, swap_test
from ser_fusion.evaluation.units import UnitCounts, independent_groups


@dataclass(frozen=True)
class DifferenceTest:
    """A - B in one metric.

    Attributes:
        interval: estimate, standard error and 95 % interval; over groups where `swap` is None, else over units.
        swap: the swap test; None where Student's t over groups is the test.
        units, groups: how many speakers, and how many groups of them that no trained model links.
        general: whether the p-value and the interval hold for the methods, not only for these trained models.
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
        a, b: the rows' counts; same units in the same order, same utterances.
        metric: one of `METRICS`.
        draws, seed: of the swap test where speakers are many.
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
