"""Tokens of previous turns in a batch: appended behind an utterance's frames, told apart by how long ago they were."""

import torch
from torch import Tensor, nn

from ser_fusion.batches import Frames, Packed
from ser_fusion.features import Context, Rows


def append(frames: Packed, context: Context, rows: Rows) -> Packed:
    """The same utterances with one token per previous turn behind their frames, the oldest first; none where there is none.

    The tokens take part in attention like frames, but are no content: no pooling counts them.

    Args:
        frames: Frames of these rows; (sum of T, features) or (sum of T, layers, features).
        context: Of the same stream.
        rows: Rows of the study, (utterances,).
    """
    parts: list[Tensor] = []
    content, distances, lengths = [], [], []
    marks = frames.content.split(list(frames.lengths))
    for row, own, mark in zip(rows.tolist(), frames.values.split(list(frames.lengths)), marks, strict=True):
        near = context.previous[row]
        ago = [k for k in range(len(near), 0, -1) if near[k - 1] >= 0]
        tokens = torch.from_numpy(context.tokens[:, [near[k - 1] for k in ago]]).transpose(0, 1)
        parts += [own, tokens if own.ndim == 3 else tokens[:, 0]]
        content += [mark, mark.new_zeros(len(ago))]
        distances += [torch.zeros(len(own), dtype=torch.int64), torch.tensor(ago, dtype=torch.int64)]
        lengths.append(len(own) + len(ago))
    longer = Packed(torch.cat(parts), lengths, torch.cat(content))
    longer.distance = torch.cat(distances)
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
