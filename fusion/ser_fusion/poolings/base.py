"""What a pooling is, and those that come with it.

A pooling makes one vector per utterance of one stream's frames, and says how the streams' vectors are joined.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ser_fusion.frames.batches import Frames


class Pooling(nn.Module):
    """Summarises the frames of one stream.

    Args:
        width: Width of the frames it will see.

    Attributes:
        out_width: Width of the vector it gives.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_width = width

    def forward(self, frames: Frames) -> Tensor:
        """One vector per utterance, (batch, ``out_width``)."""
        raise NotImplementedError

    @staticmethod
    def join(vectors: Sequence[Tensor]) -> Tensor:
        """The streams' vectors to the vector that the classifier sees: concatenation, unless a pooling says otherwise."""
        return torch.cat(list(vectors), 1)

    @staticmethod
    def joined_width(widths: Sequence[int]) -> int:
        """Width of ``join``'s result for vectors of these widths."""
        return sum(widths)


# Mean over time, special tokens left out. The cheapest; loses all dynamics.
class MeanPooling(Pooling):
    """Mean over the content frames."""

    def forward(self, frames: Frames) -> Tensor:
        """(batch, width)."""
        return frames.mean()


# The streams' plain time means side by side, special tokens included: "noSP" as the study's own code most simply reads.
#
# Differs from ``mean`` only in counting [CLS] and [SEP] as frames.
class ConcatPooling(Pooling):
    """Mean over all frames of each stream; joined by concatenation."""

    def forward(self, frames: Frames) -> Tensor:
        """(batch, width)."""
        return frames.mean(content=False)


# Maximum over time, channel by channel, special tokens left out. Good at single strong events, sensitive to outliers.
class MaxPooling(Pooling):
    """Maximum over the content frames."""

    def forward(self, frames: Frames) -> Tensor:
        """(batch, width)."""
        return frames.max()


# Mean and standard deviation over time (ddof 0), special tokens left out. Width doubles.
#
# The "statistics pooling" of x-vectors (Snyder et al. 2018), and what the study's single-stream models do. The default.
class StatsPooling(Pooling):
    """``[mean, std]`` over the content frames; a single frame has std 0."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.out_width = 2 * width

    def forward(self, frames: Frames) -> Tensor:
        """(batch, 2 x width)."""
        return torch.cat(frames.moments(), 1)


# Attentive pooling: a learned score per frame, softmax over time, weighted sum. Special tokens left out.
#
# Source: self-attentive pooling, Safari, India & Hernando 2020; with a hidden layer as in Lin et al. 2017:
# ``a = softmax_t(v . tanh(W x_t))``, result ``sum_t a_t x_t``. Parameters: width^2 / 4 + width / 2 about.
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


# Position 0 after attention: [CLS] of a BERT. The study's "CLS" rows; useful for text only (``--text-pooling cls``).
class ClsPooling(Pooling):
    """The first frame of every utterance."""

    def forward(self, frames: Frames) -> Tensor:
        """(batch, width)."""
        return frames.first()


# Mean and standard deviation over the *streams* (ddof 1) of their time means: "SP" as the study's own code pools.
#
# With two streams it is ``[(a + t) / 2, |a - t| / sqrt(2)]``: symmetric, so it cannot tell audio from text. Kept because the
# study's printed numbers were made with it; ``stats`` is the pooling over time that the same paper's single-stream models use.
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
