"""``text-queries-audio``: few text tokens ask many speech frames; nothing attends over speech by itself.

Linear in the speech frames (about 14 queries instead of 224), so the cheapest head that aligns words and speech. Pools what
the tokens found, the tokens, and the projected speech. With other streams, ``text`` (or the last stream) asks each of them.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from ser_fusion.frames.batches import Batch
from ser_fusion.heads.base import Attention, Head, Projection, Readout
from ser_fusion.heads.cross_attention import cross
from ser_fusion.heads.shape import Shape


class TextQueriesAudioHead(Head):
    """Cross-attention from the text's tokens only."""

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        asker = "text" if "text" in self.streams else self.streams[-1]
        names = [f"{asker}<{s}" for s in self.streams if s != asker]
        self.attend = nn.ModuleDict({pair: Attention(self.project.width, shape) for pair in names})
        self.readout = Readout((*self.streams, *names), self.project.width, classes, shape)

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        frames = self.project({s: batch[s] for s in self.streams})
        return self.readout({**frames, **cross(self.attend, frames)})
