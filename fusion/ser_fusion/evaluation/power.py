"""The smallest true difference that the declared test finds four times in five, in standard errors.

It is that of the test that is really made: at 5 % divided by the comparisons of its family (Holm's first step), with the
few p-values that a swap test of ten speakers has.
"""

from functools import lru_cache

import numpy as np

from ser_fusion.evaluation.swap_test import all_swaps

POWER = 0.80
FEWEST = 7  # units; below, a swap test of a family of three cannot reject at all
_SIMULATED_TO = 10  # speakers; above, the swap test's power is that of the t-test within 2 %
_STUDIES = 4000


@lru_cache
def detectable_errors(replicates: int, alpha: float, *, swap: bool) -> float:
    """The smallest true difference in standard errors that a two-sided test at `alpha` finds with 80 % power.

    Args:
        replicates: speakers, or independent groups of them.
        alpha: level of the single comparison, below 1.
        swap: whether the test swaps whole speakers, else Student's t.

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
