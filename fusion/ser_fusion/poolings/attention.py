"""Attentive pooling: a learned score per frame, softmax over time, weighted sum. Special tokens left out.

Source: self-attentive pooling, Safari, India & Hernando 2020; with a hidden layer as in Lin et al. 2017:
``a = softmax_t(v . tanh(W x_t))``, result ``sum_t a_t x_t``. Parameters: width^2 / 4 + width / 2 about.
"""

from torch import Tensor, nn

from ser_fusion.frames.batches import Frames
from ser_fusion.poolings.base import Pooling


class AttentionPooling(Pooling):
    """Weighted mean of the content frames; the weights are learned from the frames themselves."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        hidden = max(1, width // 4)
        # no bias in the last layer: softmax over time does not see it, so it would never get a gradient
        self.score = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def forward(self, frames: Frames) -> Tensor:
        """(batch, width)."""
        return frames.weighted(self.score(frames.values))
