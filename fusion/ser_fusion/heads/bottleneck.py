"""``bottleneck``: streams exchange information only through a few shared tokens.

Source: attention bottlenecks, Nagrani et al., NeurIPS 2021, eq. 8-9: each stream attends over its own frames and B shared
tokens; the tokens' updates are averaged over the streams. Two layers here: in the first the tokens collect from all
streams, in the second the streams read what was collected.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ser_fusion.frames.batches import Batch
from ser_fusion.heads.base import Attention, Head, Projection, Readout
from ser_fusion.heads.shape import Shape

TOKENS = 4
LAYERS = 2


class BottleneckHead(Head):
    """Self-attention per stream with shared bottleneck tokens."""

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        width = self.project.width
        self.tokens = nn.Parameter(torch.randn(TOKENS, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleDict({s: Attention(width, shape) for s in self.streams}) for _ in range(LAYERS)
        )
        self.readout = Readout(self.streams, width, classes, shape)

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        frames = self.project({s: batch[s] for s in self.streams})
        tokens = self.tokens.expand(batch[self.streams[0]].utterances, -1, -1)
        for layer in self.layers:
            updates = []
            for stream in self.streams:
                joined = frames[stream].extend(tokens)
                frames[stream], update = layer[stream](joined, joined).retract(TOKENS)  # type: ignore[index]
                updates.append(update)
            tokens = torch.stack(updates).mean(0)
        return self.readout(frames)
