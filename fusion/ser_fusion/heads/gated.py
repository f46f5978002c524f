"""``gated``: pooled streams, weighed channel by channel by a gate that sees all of them.

Source: gated multimodal units, Arevalo et al. 2017: ``h_s = tanh(W_s v_s)``, ``z = softmax over streams (U [v_1; v_2; ..])``,
result ``sum_s z_s * h_s``; with two streams the softmax is the paper's sigmoid. Robust to a useless stream. No attention.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ser_fusion.frames.batches import Batch
from ser_fusion.heads.base import Head, Pools, Projection, classifier
from ser_fusion.heads.shape import Shape


class GatedHead(Head):
    """A gate over pooled streams."""

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        width = self.project.width
        self.pool = Pools(self.streams, width, shape)
        self.dropout = nn.Dropout(shape.frame_dropout)
        self.transform = nn.ModuleList(nn.Linear(size, width) for size in self.pool.widths)
        self.gate = nn.Linear(sum(self.pool.widths), len(self.streams) * width)
        self.classify = classifier(width, classes, shape)

    @classmethod
    def reads_context(cls, shape: Shape) -> bool:
        """No: it has no attention."""
        return False

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        vectors = [self.dropout(v) for v in self.pool(self.project({s: batch[s] for s in self.streams}))]
        hidden = torch.stack([layer(v).tanh() for layer, v in zip(self.transform, vectors, strict=True)], 1)
        gate = self.gate(torch.cat(vectors, 1)).view(hidden.shape).softmax(1)
        return self.classify((gate * hidden).sum(1))
