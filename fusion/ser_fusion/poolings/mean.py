"""Mean over time, special tokens left out. The cheapest; loses all dynamics."""

from torch import Tensor

from ser_fusion.frames.batches import Frames
from ser_fusion.poolings.base import Pooling


class MeanPooling(Pooling):
    """Mean over the content frames."""

    def forward(self, frames: Frames) -> Tensor:
        """(batch, width)."""
        return frames.mean()
