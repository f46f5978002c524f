"""Mean and standard deviation over time (ddof 0), special tokens left out. Width doubles.

The "statistics pooling" of x-vectors (Snyder et al. 2018), and what the study's single-stream models do. The default.
"""

import torch
from torch import Tensor

from ser_fusion.frames.batches import Frames
from ser_fusion.poolings.base import Pooling


class StatsPooling(Pooling):
    """``[mean, std]`` over the content frames; a single frame has std 0."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.out_width = 2 * width

    def forward(self, frames: Frames) -> Tensor:
        """(batch, 2 x width)."""
        return torch.cat(frames.moments(), 1)
