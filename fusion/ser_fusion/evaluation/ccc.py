"""The concordance correlation coefficient: how well predictions equal ratings, not only how well they go along with them.

``CCC = 2 cov(p, r) / (var p + var r + (mean p - mean r)^2)``, all with ddof 0; 1 only where all are equal, 0 for a constant.

Source: Lin, Biometrics 1989; as a loss ``1 - CCC`` over the batch: Trigeorgis et al., ICASSP 2016.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-8


def ccc(predicted: NDArray[np.floating], ratings: NDArray[np.floating]) -> float:
    """CCC of two (n,) arrays, in [-1, 1]; 0 where both are constant and differ, NaN where nothing is given."""
    if not len(ratings):
        return float("nan")
    p, r = np.asarray(predicted, dtype=np.float64), np.asarray(ratings, dtype=np.float64)
    shared = ((p - p.mean()) * (r - r.mean())).mean()
    spread = p.var() + r.var() + (p.mean() - r.mean()) ** 2
    return float(2 * shared / spread) if spread > 0 else 1.0


def ccc_loss(predicted: "Tensor", ratings: "Tensor") -> "Tensor":
    """``1 - CCC`` over the batch, averaged over the dimensions that have two ratings or more.

    Args:
        predicted: (batch, dimensions).
        ratings: The same shape; NaN where there is no rating.
    """
    import torch

    losses = []
    for p, r in zip(predicted.unbind(1), ratings.unbind(1), strict=True):
        known = ~torch.isnan(r)
        if int(known.sum()) > 1:
            p, r = p[known], r[known]
            shared = ((p - p.mean()) * (r - r.mean())).mean()
            spread = p.var(correction=0) + r.var(correction=0) + (p.mean() - r.mean()).square()
            losses.append(1 - 2 * shared / (spread + _TINY))
    return torch.stack(losses).mean() if losses else predicted.sum() * 0.0
