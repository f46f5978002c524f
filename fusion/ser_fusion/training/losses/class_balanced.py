"""``class-balanced``: cross-entropy weighed by the effective number of a class's examples, ``(1 - beta^n) / (1 - beta)``.

Source: Cui, Jia, Lin, Song & Belongie, CVPR 2019, eq. 2-4: ``w_c = (1 - beta) / (1 - beta^n_c)``, scaled so that the weights'
sum is the number of classes. ``beta`` = 0 is plain cross-entropy; ``beta`` towards 1 is inverse frequency.
"""

import torch
from torch import Tensor

from ser_fusion.training.losses.cross_entropy import CrossEntropy


class ClassBalanced(CrossEntropy):
    """Effective-number weights; ``strength`` is beta, in [0, 1)."""

    default = 0.999
    symbol = "beta"
    balances = True

    def __init__(self, counts: Tensor, weight: Tensor | None = None, strength: float | None = None) -> None:
        super().__init__(counts, weight, strength)
        self.weight = effective_weights(counts, self.strength or 0.0).to(counts.device)

    @classmethod
    def refusal(cls, strength: float | None) -> str | None:
        """beta lies in [0, 1)."""
        return None if strength is None or 0 <= strength < 1 else "beta lies in [0, 1)"


def effective_weights(counts: Tensor, beta: float) -> Tensor:
    """Weights (classes,) float32, sum = classes; a class without examples counts as one with one."""
    exact = counts.double().clamp(min=1)  # beta^n in float32 loses what beta close to 1 is about
    weights = (1 - beta) / (1 - torch.pow(torch.tensor(beta, dtype=torch.float64), exact.cpu()))
    return (weights * len(counts) / weights.sum()).float()
