"""What a loss is: from one head's logits and the wanted classes to one number, and which class prior it makes the head assume.

A loss takes class numbers or class distributions (smoothed, mixed, or counted from annotators' votes); with class numbers it
equals itself on their one-hot distributions. Heads whose experts are trained apart (``late``) apply it to each expert alone.
"""

from typing import ClassVar

import torch
from torch import Tensor


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
