"""MDRE, re-defined for cached frames: a GRU(200) per stream, last valid state, Linear to 100, concatenation, Linear.

Source: Yoon, Byun & Jung, SLT 2018 (MFCC and GloVe, trainable embeddings). What differs here, and is said in every result:
frames of frozen encoders instead of MFCC and GloVe, no prosody vector, softmax cross-entropy instead of a sigmoid per class.
No non-linearity after the GRUs, as in the original; so it is additive in the streams. Has no pooling to choose.

Cost: sequential in time, so the slowest head at full frame rate; a stride helps it most.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ser_fusion.frames.batches import Batch
from ser_fusion.heads.base import Head
from ser_fusion.heads.shape import Shape

HIDDEN = 200


class MdreHead(Head):
    """Dual (or n-fold) recurrent encoders, concatenated."""

    pools = False
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
