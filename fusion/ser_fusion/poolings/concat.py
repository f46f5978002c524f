"""The streams' plain time means side by side, special tokens included: "noSP" as the study's own code most simply reads.

Differs from ``mean`` only in counting [CLS] and [SEP] as frames.
"""

from torch import Tensor

from ser_fusion.frames.batches import Frames
from ser_fusion.poolings.base import Pooling


class ConcatPooling(Pooling):
    """Mean over all frames of each stream; joined by concatenation."""

    def forward(self, frames: Frames) -> Tensor:
        """(batch, width)."""
        return frames.mean(content=False)
