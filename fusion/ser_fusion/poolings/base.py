"""What a pooling is: one stream's frames to one vector per utterance, and how the streams' vectors are joined."""

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
