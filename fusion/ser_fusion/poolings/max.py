"""Maximum over time, channel by channel, special tokens left out. Good at single strong events, sensitive to outliers."""

from torch import Tensor

from ser_fusion.frames.batches import Frames
from ser_fusion.poolings.base import Pooling


class MaxPooling(Pooling):
    """Maximum over the content frames."""

    def forward(self, frames: Frames) -> Tensor:
        """(batch, width)."""
        return frames.max()
