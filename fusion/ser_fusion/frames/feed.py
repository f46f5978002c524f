"""Batches from frames in memory: gathers the chosen utterances of every stream, packed; padded and moved for a GPU."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ser_fusion.frames.batches import Frames, Packed, pad
from ser_fusion.frames.features import Context, Rows, StreamFrames


# Tokens of previous turns in a batch: appended behind an utterance's frames, told apart by how long ago they were.
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


class Feed:
    """Batches of some streams.

    Args:
        streams: Frames by stream.
        names: Streams to give, in order.
        pad_to: Frames that every utterance is filled up to with zeros, or cut to; the zeros count as frames (as-found).
        device: Where batches go. Not on the CPU they are padded: there one masked kernel beats a loop over utterances.
        padded: Pad on the CPU as well (for tests).
        on_read: Told the rows of the study whose frames are read, previous turns included.
        lost: Streams that have no frame at all, whatever the study holds.
    """

    def __init__(
        self,
        streams: Mapping[str, StreamFrames],
        names: Sequence[str],
        *,
        pad_to: Mapping[str, int] | None = None,
        device: torch.device | None = None,
        padded: bool = False,
        on_read: Callable[[Rows], None] | None = None,
        lost: Sequence[str] = (),
    ) -> None:
        self.streams = {name: streams[name] for name in names}
        self.layers = {n: [torch.from_numpy(np.asarray(x)) for x in s.layers] for n, s in self.streams.items()}
        self.content = {n: torch.from_numpy(np.asarray(s.content)) for n, s in self.streams.items()}
        self.pad_to = dict(pad_to or {})
        self.lost = frozenset(lost)
        self.device = device or torch.device("cpu")
        self.padded = padded or self.device.type != "cpu"
        self.on_read = on_read

    def batch(
        self, rows: NDArray[np.int64], partners: Mapping[str, NDArray[np.int64]] | None = None
    ) -> dict[str, Frames]:
        """The utterances at these rows of the study's table.

        Args:
            rows: Rows of the study.
            partners: Other rows for some streams (``--re-pair``).
        """
        given = partners or {}
        for name in self.streams if self.on_read else ():
            self.tell(given.get(name, rows))
        return {name: self._stream(name, given.get(name, rows)) for name in self.streams}

    def tell(self, rows: Rows) -> None:
        """Reports that these rows are read, and the rows of the study that are their previous turns."""
        if self.on_read is None:
            return
        self.on_read(rows)
        for stream in self.streams.values():
            if stream.context is not None:
                near = stream.context.previous[rows]
                self.on_read(near[(near >= 0) & (near < len(stream.lengths))])

    def _stream(self, name: str, rows: NDArray[np.int64]) -> Frames:
        offsets, layers = self.streams[name].offsets, self.layers[name]
        fixed = self.pad_to.get(name)
        starts, own = offsets[rows].tolist(), (offsets[rows + 1] - offsets[rows]).tolist()
        if name in self.lost:
            own = [0] * len(rows)
        kept = own if fixed is None else [min(length, fixed) for length in own]
        lengths = own if fixed is None else [fixed] * len(rows)
        total, features = sum(lengths), layers[0].shape[1]
        values = torch.empty((total, len(layers), features))
        content = torch.ones(total, dtype=torch.bool)
        place = 0
        for start, count, length in zip(starts, kept, lengths, strict=True):
            stop = place + count
            for number, layer in enumerate(layers):
                values[place:stop, number].copy_(layer[start : start + count])  # float16 to float32 on the way
            if fixed is None:
                content[place:stop] = self.content[name][start : start + count]
            values[stop : place + length] = 0
            place += length
        frames = Packed(values[:, 0] if len(layers) == 1 else values, lengths, content)
        context = self.streams[name].context
        if context is not None and name not in self.lost:
            frames = append(frames, context, rows)
        if not self.padded:
            return frames
        full = pad(frames)
        moved = type(full)(full.values.to(self.device), full.lengths, full.content.to(self.device))
        moved.distance = None if full.distance is None else full.distance.to(self.device)
        return moved

    def by_length(
        self, rows: NDArray[np.int64], size: int, partners: Mapping[str, NDArray[np.int64]] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], dict[str, Frames]]]:
        """All of these rows in batches of similar length, for evaluation; yields the rows and their batch.

        Args:
            rows: Rows of the study.
            size: Utterances per batch.
            partners: Other rows for some streams, in the order of ``rows``.
        """
        longest = max(self.streams, key=lambda n: int(self.streams[n].offsets[-1]))
        order = np.argsort(self.streams[longest].lengths[rows], kind="stable")
        for start in range(0, len(order), size):
            part = order[start : start + size]
            others = {name: other[part] for name, other in (partners or {}).items()}
            yield rows[part], self.batch(rows[part], others)
