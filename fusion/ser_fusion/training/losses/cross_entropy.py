"""``cross-entropy``: ``- sum_c w_c q_c log p_c``, the default; ``w`` is 1, or ``--class-weights balanced``."""

from torch import Tensor, nn

from ser_fusion.training.losses.base import Loss


class CrossEntropy(Loss):
    """The logarithmic score: the only loss here whose posteriors are calibrated by construction."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Sum over the batch; see ``Loss``."""
        return nn.functional.cross_entropy(logits, targets, weight=self.weight, reduction="sum")
