"""``focal``: ``- sum_c w_c q_c (1 - p_c)^gamma log p_c``: examples that are right already count less.

Source: Lin, Goyal, Girshick, He & Dollar, ICCV 2017, eq. 4, in the multi-class form. ``gamma`` = 0 is cross-entropy. Its
posteriors are pulled towards the middle: rank with them, do not read them as probabilities.
"""

import torch
from torch import Tensor

from ser_fusion.training.losses.base import Loss, distribution


class Focal(Loss):
    """Down-weighs easy examples; ``strength`` is gamma, 0 or more."""

    default = 2.0
    symbol = "gamma"

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Sum over the batch; see ``Loss``."""
        logs = logits.log_softmax(1)
        missing = -torch.expm1(logs.clamp(max=-1e-7))  # 1 - p; kept from 0, where the gradient of a root is infinite
        each = -distribution(targets, logits.shape[1]) * missing.pow(self.strength or 0.0) * logs
        return (each if self.weight is None else each * self.weight).sum()

    @classmethod
    def refusal(cls, strength: float | None) -> str | None:
        """gamma is not negative."""
        return None if strength is None or strength >= 0 else "gamma is not negative"
