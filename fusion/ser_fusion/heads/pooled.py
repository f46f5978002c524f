"""The heads without attention: each stream becomes one vector by itself, then the vectors are joined."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ser_fusion.frames.batches import Batch
from ser_fusion.heads.base import Head, Pools, Projection, Readout, classifier
from ser_fusion.heads.facts import Mdre
from ser_fusion.heads.shape import Shape


# No attention: project, pool and concatenate. The plainest fusion; additive in the streams by construction.
#
# Cost: one projection per frame; 4 to 10 times cheaper than the attention heads.
class ConcatHead(Head):
    """Early fusion of pooled streams."""

    interacts = False

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        self.readout = Readout(self.streams, self.project.width, classes, shape)

    @classmethod
    def reads_context(cls, shape: Shape) -> bool:
        """No: it has no attention."""
        return False

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        return self.readout(self.project({s: batch[s] for s in self.streams}))


# ``gated``: pooled streams, weighed channel by channel by a gate that sees all of them.
#
# Source: gated multimodal units, Arevalo et al. 2017: ``h_s = tanh(W_s v_s)``, ``z = softmax over streams (U [v_1; v_2; ..])``,
# result ``sum_s z_s * h_s``; with two streams the softmax is the paper's sigmoid. Robust to a useless stream. No attention.
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


# ``bilinear``: every channel of the pooled speech times every channel of the pooled text, at low rank.
#
# Source: low-rank bilinear pooling, Kim et al., ICLR 2017, eq. 8: ``c(tanh(U P(x_a)) * tanh(V P(x_t)))``. Multiplies streams
# and does nothing else: the plainest head that sees an interaction. No attention.
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


# MDRE, re-defined for cached frames: a GRU(200) per stream, last valid state, Linear to 100, concatenation, Linear.
#
# Source: Yoon, Byun & Jung, SLT 2018 (MFCC and GloVe, trainable embeddings). What differs here, and is said in every result:
# frames of frozen encoders instead of MFCC and GloVe, no prosody vector, softmax cross-entropy instead of a sigmoid per class.
# No non-linearity after the GRUs, as in the original; so it is additive in the streams. Has no pooling to choose.
#
# Cost: sequential in time, so the slowest head at full frame rate; a stride helps it most.
HIDDEN = 200


class MdreHead(Mdre, Head):
    """Dual (or n-fold) recurrent encoders, concatenated."""

    interacts = False
    drops_streams = False

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.recurrent = nn.ModuleDict({s: nn.GRU(d, HIDDEN, batch_first=True) for s, d in dims.items()})
        self.halve = nn.ModuleDict({s: nn.Linear(HIDDEN, HIDDEN // 2) for s in dims})
        self.input_dropout = nn.Dropout(shape.input_dropout)
        self.frame_dropout = nn.Dropout(shape.frame_dropout)
        self.pool_dropout = nn.Dropout(shape.pool_dropout)
        self.classify = nn.Linear(len(dims) * (HIDDEN // 2), classes)
        for layer in self.recurrent.values():
            for matrix in layer.weight_hh_l0.chunk(3):  # type: ignore[operator]
                nn.init.orthogonal_(matrix)

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        vectors = []
        for stream in self.streams:
            frames = batch[stream].map(self.input_dropout)
            state = frames.last_state(self.recurrent[stream])  # type: ignore[arg-type]
            vectors.append(self.halve[stream](self.frame_dropout(state)))
        return self.classify(self.pool_dropout(torch.cat(vectors, 1)))
