"""``self+cross``: self-attention inside each stream, then every stream asks every other one; both results are pooled.

Source: Rajan, Brutti & Cavallaro, ICASSP 2022 ("Cross+Self"; their order of the two is not published).
"""

from collections.abc import Mapping

from torch import Tensor, nn

from ser_fusion.frames.batches import Batch
from ser_fusion.heads.base import Attention, Head, Projection, Readout
from ser_fusion.heads.cross_attention import cross, pairs
from ser_fusion.heads.shape import Shape


class SelfCrossHead(Head):
    """One self-attention per stream and one cross-attention per ordered pair."""

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        names = pairs(self.streams)
        self.attend_self = nn.ModuleDict({s: Attention(self.project.width, shape) for s in self.streams})
        self.attend_cross = nn.ModuleDict({pair: Attention(self.project.width, shape) for pair in names})
        self.readout = Readout((*self.streams, *names), self.project.width, classes, shape)

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        frames = self.project({s: batch[s] for s in self.streams})
        own = {s: self.attend_self[s](frames[s], frames[s]) for s in self.streams}
        return self.readout({**own, **cross(self.attend_cross, own)})
