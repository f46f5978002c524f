"""``bilinear``: every channel of the pooled speech times every channel of the pooled text, at low rank.

Source: low-rank bilinear pooling, Kim et al., ICLR 2017, eq. 8: ``c(tanh(U P(x_a)) * tanh(V P(x_t)))``. Multiplies streams
and does nothing else: the plainest head that sees an interaction. No attention.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ser_fusion.frames.batches import Batch
from ser_fusion.heads.base import Head, Pools, Projection, classifier
from ser_fusion.heads.shape import Shape


class BilinearHead(Head):
    """The product of pooled streams."""

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        self.pool = Pools(self.streams, self.project.width, shape)
        self.dropout = nn.Dropout(shape.frame_dropout)
        self.transform = nn.ModuleList(nn.Linear(size, self.project.width) for size in self.pool.widths)
        self.classify = classifier(self.project.width, classes, shape)

    @classmethod
    def reads_context(cls, shape: Shape) -> bool:
        """No: it has no attention."""
        return False

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        vectors = self.pool(self.project({s: batch[s] for s in self.streams}))
        hidden = [layer(self.dropout(v)).tanh() for layer, v in zip(self.transform, vectors, strict=True)]
        return self.classify(torch.stack(hidden).prod(0))
