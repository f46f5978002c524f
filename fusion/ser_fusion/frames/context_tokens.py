"""Tokens of previous turns in a batch: appended behind an utterance's frames, told apart by how long ago they were."""

import numpy as np
import torch
from torch import nn

from ser_fusion.frames.batches import Frames, Packed
from ser_fusion.frames.features import Context, Rows


def append(frames: Packed, context: Context, rows: Rows) -> Packed:
    """The same utterances with one token per previous turn behind their frames, the oldest first; none where there is none.

    The tokens take part in attention like frames, but are no content: no pooling counts them.

    Args:
        frames: Frames of these rows; (sum of T, features) or (sum of T, layers, features).
        context: Of the same stream.
        rows: Rows of the study, (utterances,).
    """
    near = context.previous[rows][:, ::-1]
    there = near >= 0
    ago = np.broadcast_to(np.arange(near.shape[1], 0, -1), near.shape)[there]
    tokens = torch.from_numpy(context.tokens)[:, torch.from_numpy(near[there])].transpose(0, 1)
    counts, lengths = there.sum(1), np.array(frames.lengths, dtype=np.int64)
    numbers = np.arange(len(rows))
    # all frames, then all tokens, sorted by utterance: a stable sort keeps frames before tokens, and each in its order
    owner = np.concatenate([np.repeat(numbers, lengths), np.repeat(numbers, counts)])
    order = torch.from_numpy(np.argsort(owner, kind="stable"))
    values = torch.cat([frames.values, tokens if frames.values.ndim == 3 else tokens[:, 0]])
    content = torch.cat([frames.content, frames.content.new_zeros(len(ago))])
    distance = torch.cat([torch.zeros(len(frames.content), dtype=torch.int64), torch.from_numpy(ago)])
    longer = Packed(values.index_select(0, order), (lengths + counts).tolist(), content[order])
    longer.distance = distance[order]
    return longer


class Distance(nn.Module):
    """Adds a learned vector per distance to the tokens of previous turns; an utterance's own frames stay as they are.

    Args:
        turns: Greatest distance.
        features: Features per frame.
    """

    def __init__(self, turns: int, features: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(turns, features) * 0.02)

    def forward(self, frames: Frames) -> Frames:
        """The same shape. Frames without tokens (no previous turns were read) pass unchanged."""
        if frames.distance is None:
            return frames
        table = torch.cat([self.vectors.new_zeros(1, self.vectors.shape[1]), self.vectors])
        return frames.with_values(frames.values + table[frames.distance])
