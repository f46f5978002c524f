"""Position 0 after attention: [CLS] of a BERT. The study's "CLS" rows; useful for text only (``--text-pooling cls``)."""

from torch import Tensor

from ser_fusion.frames.batches import Frames
from ser_fusion.poolings.base import Pooling


class ClsPooling(Pooling):
    """The first frame of every utterance."""

    def forward(self, frames: Frames) -> Tensor:
        """(batch, width)."""
        return frames.first()
