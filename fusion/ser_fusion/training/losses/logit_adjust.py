"""``logit-adjust``: cross-entropy on ``f_c(x) + tau log pi_c`` in training; predictions read ``f`` alone.

Source: Menon, Jayasumana, Rawat, Jain, Veit & Kumar, ICLR 2021, eq. 10. The adjusted logits learn the posterior, so with
``tau`` = 1 the logits that remain rank classes by ``p(x | c)``: as if all classes were equally frequent, which is what UWA
asks for. Unlike weights it is consistent for the mean recall.
"""

from torch import Tensor

from ser_fusion.training.losses.cross_entropy import CrossEntropy


class LogitAdjust(CrossEntropy):
    """Learns beside the class prior instead of with it; ``strength`` is tau, 0 or more."""

    default = 1.0
    symbol = "tau"
    balances = True

    def __init__(self, counts: Tensor, weight: Tensor | None = None, strength: float | None = None) -> None:
        super().__init__(counts, weight, strength)
        known = self.counts.clamp(min=1)
        self.shift = (self.strength or 0.0) * (known / known.sum()).log()

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
