"""``tensor-fusion``: the outer product of pooled streams, each with a 1 appended.

Source: Zadeh et al., EMNLP 2017, eq. 3, on pooled vectors reduced to 16 channels each.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ser_fusion.frames.batches import Batch
from ser_fusion.heads.base import Head, Pools, Projection, classifier
from ser_fusion.heads.shape import Shape

CHANNELS = 16


class TensorFusionHead(Head):
    """All products of channels of all streams, and of every subset of them."""

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        self.pool = Pools(self.streams, self.project.width, shape)
        self.dropout = nn.Dropout(shape.frame_dropout)
        self.reduce = nn.ModuleList(nn.Linear(size, CHANNELS) for size in self.pool.widths)
        self.classify = classifier((CHANNELS + 1) ** len(self.streams), classes, shape)

    @classmethod
    def reads_context(cls, shape: Shape) -> bool:
        """No: it has no attention."""
        return False

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        vectors = self.pool(self.project({s: batch[s] for s in self.streams}))
        product = vectors[0].new_ones(len(vectors[0]), 1)
        for layer, vector in zip(self.reduce, vectors, strict=True):
            small = layer(self.dropout(vector)).tanh()
            small = torch.cat([small, small.new_ones(len(small), 1)], 1)
            product = (product[:, :, None] * small[:, None, :]).flatten(1)
        return self.classify(product)
