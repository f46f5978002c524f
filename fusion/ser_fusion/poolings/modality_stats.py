"""Mean and standard deviation over the *streams* (ddof 1) of their time means: "SP" as the study's own code pools.

With two streams it is ``[(a + t) / 2, |a - t| / sqrt(2)]``: symmetric, so it cannot tell audio from text. Kept because the
study's printed numbers were made with it; ``stats`` is the pooling over time that the same paper's single-stream models use.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ser_fusion.frames.batches import Frames
from ser_fusion.poolings.base import Pooling


class ModalityStatsPooling(Pooling):
    """Plain time mean per stream, then mean and standard deviation over the streams. One stream alone has std 0."""

    def forward(self, frames: Frames) -> Tensor:
        """(batch, width)."""
        return frames.mean(content=False)

    @staticmethod
    def join(vectors: Sequence[Tensor]) -> Tensor:
        """(batch, 2 x width); all streams have the same width."""
        stack = torch.stack(list(vectors))
        mean = stack.mean(0)
        # the norm, not torch.std: its gradient is finite where all streams agree
        spread = (stack - mean).square().sum(0) / max(1, len(vectors) - 1)
        return torch.cat([mean, torch.where(spread > 0, spread.clamp(min=1e-24).sqrt(), 0.0)], 1)

    @staticmethod
    def joined_width(widths: Sequence[int]) -> int:
        """Twice the streams' common width."""
        return 2 * widths[0]
