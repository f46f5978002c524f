"""``self``: self-attention inside each stream, pooled, joined. Streams meet only in the classifier.

Source: Rajan, Brutti & Cavallaro, ICASSP 2022; the study's Self-MHA.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from ser_fusion.frames.batches import Batch
from ser_fusion.heads.base import Attention, Head, Projection, Readout
from ser_fusion.heads.shape import Shape


class SelfHead(Head):
    """One self-attention per stream."""

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        self.attend = nn.ModuleDict({s: Attention(self.project.width, shape) for s in self.streams})
        self.readout = Readout(self.streams, self.project.width, classes, shape)

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        frames = self.project({s: batch[s] for s in self.streams})
        return self.readout({s: self.attend[s](frames[s], frames[s]) for s in self.streams})
