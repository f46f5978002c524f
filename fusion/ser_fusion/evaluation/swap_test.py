"""Swap two models' predictions of whole speakers and recompute the pooled score.

If the two models were equally good, it would not matter which of them predicted a speaker. Every one of the 2^S ways of
swapping speakers is then as likely as the one observed, and the p-value is the share of ways that give a difference at
least as large (two-sided). Exact up to 15 speakers, 20,000 seeded draws above. It holds for the methods where every speaker
has trained models of its own; `difference_test` says what is tested elsewhere.
"""

from dataclasses import dataclass

import numpy as np

from ser_fusion.evaluation.metrics import scores_of

EXACT_TO = 15
DRAWS = 20_000
_CHUNK = 8192


@dataclass(frozen=True)
class SwapTest:
    """Outcome of a swap test.

    Attributes:
        difference: score of A minus score of B, in [-1, 1].
        p: two-sided p-value.
        units: number of speakers.
        exact: whether all assignments were enumerated.
        assignments: how many were looked at.
    """

    difference: float
    p: float
    units: int
    exact: bool
    assignments: int


def all_swaps(units: int) -> np.ndarray:
    """Every assignment as rows of 0/1 `(2^(units - 1), units)`; unit 0 stays, since swapping all only turns the sign."""
    numbers = np.arange(2 ** max(units - 1, 0), dtype=np.int64)[:, None]
    swaps = (numbers >> np.arange(units - 1)) & 1
    return np.concatenate([np.zeros((len(numbers), 1), dtype=np.int64), swaps], axis=1)


def swap_differences(a: np.ndarray, b: np.ndarray, swaps: np.ndarray, metric: str) -> np.ndarray:
    """Difference of the pooled scores for every assignment.

    Args:
        a, b: `(units, classes, classes)` confusion matrices per speaker.
        swaps: `(assignments, units)` of 0 and 1.
        metric: one of `METRICS`.

    Returns:
        `(assignments,)`.
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
        a, b: `(units, classes, classes)` confusion matrices per speaker, same speakers and true counts in both.
        metric: one of `METRICS`; the primary one is UWA.
        draws: assignments drawn where there are more than `exact_to` speakers.
        seed: of the draws.
        exact_to: enumerate up to so many speakers.
    """
    if a.shape != b.shape or not np.allclose(a.sum(axis=2), b.sum(axis=2)):
        raise ValueError("the two rows do not score the same utterances; compare rows of the same folds")
    exact = len(a) <= exact_to
    swaps = all_swaps(len(a)) if exact else np.random.default_rng(seed).integers(0, 2, size=(draws, len(a)))
    observed = float(scores_of(a.sum(axis=0))[metric] - scores_of(b.sum(axis=0))[metric])
    extreme = int((np.abs(swap_differences(a, b, swaps, metric)) >= abs(observed) - 1e-12).sum())
    p = extreme / len(swaps) if exact else (extreme + 1) / (len(swaps) + 1)
    return SwapTest(observed, float(p), len(a), exact, 2 * len(swaps) if exact else len(swaps))
