"""What a loss is, and those that come with it: from one head's logits and the wanted classes to one number.

A loss says which class prior it makes the head assume. It takes class numbers or class distributions (smoothed, mixed, or
counted from annotators' votes); with class numbers it equals itself on their one-hot distributions. Heads whose experts are
trained apart (``late``) apply it to each expert alone.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn


class Loss:
    """Base of all losses.

    Args:
        counts: Training utterances per class, (classes,); fractional where targets are distributions.
        weight: Weight of each class (``--class-weights``), (classes,), or None.
        strength: The loss's own number; None for its default.

    Attributes:
        default: Default of ``strength``; None for a loss that has no number.
        symbol: What papers call it.
        balances: Whether it works against the classes' frequencies, so that ``--class-weights balanced`` would do so twice.
    """

    default: ClassVar[float | None] = None
    symbol: ClassVar[str] = ""
    balances: ClassVar[bool] = False

    def __init__(self, counts: Tensor, weight: Tensor | None = None, strength: float | None = None) -> None:
        self.counts = counts.float()
        self.weight = weight
        self.strength = self.default if strength is None else strength

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Sum over the batch.

        Args:
            logits: (batch, classes).
            targets: Class numbers (batch,) int64, or distributions (batch, classes).
        """
        raise NotImplementedError

    def prior(self, shown: Tensor) -> Tensor:
        """The class distribution that posteriors of a model trained with this loss answer to, (classes,).

        Args:
            shown: What the training targets themselves show, (classes,), not negative.
        """
        weighed = shown if self.weight is None else shown * self.weight.to(shown)
        return weighed / weighed.sum()

    @classmethod
    def refusal(cls, strength: float | None) -> str | None:
        """Why this number cannot be, or None."""
        if cls.default is None and strength is not None:
            return "it has no number"
        return None


def distribution(targets: Tensor, classes: int) -> Tensor:
    """One-hot distributions (batch, classes) of class numbers; distributions pass through."""
    return torch.nn.functional.one_hot(targets, classes).float() if targets.dim() == 1 else targets


# ``cross-entropy``: ``- sum_c w_c q_c log p_c``, the default; ``w`` is 1, or ``--class-weights balanced``.
class CrossEntropy(Loss):
    """The logarithmic score: the only loss here whose posteriors are calibrated by construction."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Sum over the batch; see ``Loss``."""
        return nn.functional.cross_entropy(logits, targets, weight=self.weight, reduction="sum")


# ``class-balanced``: cross-entropy weighed by the effective number of a class's examples, ``(1 - beta^n) / (1 - beta)``.
#
# Source: Cui, Jia, Lin, Song & Belongie, CVPR 2019, eq. 2-4: ``w_c = (1 - beta) / (1 - beta^n_c)``, scaled so that the weights'
# sum is the number of classes. ``beta`` = 0 is plain cross-entropy; ``beta`` towards 1 is inverse frequency.
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


# ``focal``: ``- sum_c w_c q_c (1 - p_c)^gamma log p_c``: examples that are right already count less.
#
# Source: Lin, Goyal, Girshick, He & Dollar, ICCV 2017, eq. 4, in the multi-class form. ``gamma`` = 0 is cross-entropy. Its
# posteriors are pulled towards the middle: rank with them, do not read them as probabilities.
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


# ``logit-adjust``: cross-entropy on ``f_c(x) + tau log pi_c`` in training; predictions read ``f`` alone.
#
# Source: Menon, Jayasumana, Rawat, Jain, Veit & Kumar, ICLR 2021, eq. 10. The adjusted logits learn the posterior, so with
# ``tau`` = 1 the logits that remain rank classes by ``p(x | c)``: as if all classes were equally frequent, which is what UWA
# asks for. Unlike weights it is consistent for the mean recall.
class LogitAdjust(CrossEntropy):
    """Learns beside the class prior instead of with it; ``strength`` is tau, 0 or more."""

    default = 1.0
    symbol = "tau"
    balances = True

    def __init__(self, counts: Tensor, weight: Tensor | None = None, strength: float | None = None) -> None:
        super().__init__(counts, weight, strength)
        positive = self.counts.clamp(min=1)
        self.shift = (self.strength or 0.0) * (positive / positive.sum()).log()

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Sum over the batch; see ``Loss``."""
        return super().__call__(logits + self.shift, targets)

    def prior(self, shown: Tensor) -> Tensor:
        """What is left of the prior: ``pi^(1 - tau)``, uniform for tau = 1."""
        left = super().prior(shown).clamp(min=1e-6).log() - self.shift.to(shown)
        return left.softmax(0)

    @classmethod
    def refusal(cls, strength: float | None) -> str | None:
        """tau is not negative."""
        return None if strength is None or strength >= 0 else "tau is not negative"
