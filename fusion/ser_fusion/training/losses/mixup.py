"""Mixup of pooled vectors: ``v = lambda v_i + (1 - lambda) v_j``, ``q`` likewise, ``lambda`` ~ Beta(alpha, alpha), one per batch.

Source: Zhang, Cisse, Dauphin & Lopez-Paz, ICLR 2018; at a hidden layer: Verma et al., ICML 2019 (manifold mixup).

At the pooled vector, not at the frames: two utterances have different lengths and no frames that correspond, so a sum of their
frames is a sum of two unrelated moments, and attention would look across two speakers at once. The pooled vector is the
first place where both have one row of the same meaning. Behind it every head is linear (see docs/heads.md), so mixing vectors
mixes logits: a straight line of confidence between any two training utterances, dropout masks aside.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Mix:
    """How one batch is mixed.

    Attributes:
        share: ``lambda``, of the utterance itself, in [0, 1].
        partner: With whom each utterance is mixed, (batch,) int64.
    """

    share: float
    partner: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Rows mixed with their partners' rows."""
        return self.share * values + (1 - self.share) * values[self.partner]


def draw_mix(draw: np.random.Generator, size: int, alpha: float, device: torch.device) -> Mix:
    """A mix for a batch of this size."""
    partner = torch.from_numpy(draw.permutation(size)).to(device)
    return Mix(float(draw.beta(alpha, alpha)), partner)
