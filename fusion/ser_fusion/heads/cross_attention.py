"""``cross``: every stream asks every other one. With audio and text: text over audio and audio over text.

Source: Tsai et al. 2019 (MulT); Rajan, Brutti & Cavallaro, ICASSP 2022; the study's Cross-MHA. n streams have n (n - 1)
attentions, each pooled on its own.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from ser_fusion.frames.batches import Batch, Frames
from ser_fusion.heads.base import Attention, Head, Projection, Readout
from ser_fusion.heads.shape import Shape


def pairs(streams: tuple[str, ...]) -> list[str]:
    """Names ``target<source`` of all ordered pairs of streams."""
    return [f"{target}<{source}" for target in streams for source in streams if source != target]


def cross(attend: nn.ModuleDict, frames: Mapping[str, Frames]) -> dict[str, Frames]:
    """Each pair's attention applied: queries of the target over the source."""
    out = {}
    for pair, attention in attend.items():
        target, _, source = pair.partition("<")
        out[pair] = attention(frames[target], frames[source])
    return out


class CrossHead(Head):
    """One cross-attention per ordered pair of streams."""

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        names = pairs(self.streams)
        self.attend = nn.ModuleDict({pair: Attention(self.project.width, shape) for pair in names})
        self.readout = Readout(names, self.project.width, classes, shape)

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        return self.readout(cross(self.attend, self.project({s: batch[s] for s in self.streams})))
