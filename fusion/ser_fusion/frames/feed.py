"""Batches of some utterances of every stream, packed: gathered by index where the frames are, on a GPU or in memory.

Frames that no card holds are gathered in pinned memory one batch ahead, while the card works on the batch before.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ser_fusion.frames.batches import Frames, Packed, interleaved, pad
from ser_fusion.frames.device import Resident, read_ahead, resident, sent
from ser_fusion.frames.features import Context, Rows, StreamFrames

Partners = Mapping[str, NDArray[np.int64]]

MOST = 1 << 27
"""Numbers that a batch for evaluation holds at most, of several utterances: 512 MB, for long utterances or many layers."""


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
    there, device = near >= 0, frames.values.device
    ago = np.broadcast_to(np.arange(near.shape[1], 0, -1), near.shape)[there]
    tokens = sent(np.swapaxes(context.tokens[:, near[there]], 0, 1), device)
    counts, lengths = there.sum(1), np.array(frames.lengths, dtype=np.int64)
    order = sent(interleaved(lengths, counts), device)
    values = torch.cat([frames.values, tokens if frames.values.ndim == 3 else tokens[:, 0]]).index_select(0, order)
    content = torch.cat([frames.content, frames.content.new_zeros(len(ago))]).index_select(0, order)
    longer = Packed(values, (lengths + counts).tolist(), content, all_content=frames.all_content and not len(ago))
    distance = np.concatenate([np.zeros(int(lengths.sum()), dtype=np.int64), ago])
    longer.distance = sent(distance, device).index_select(0, order)
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
        device: Where batches go.
        padded: Pad them (for tests, which compare the two engines).
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
        self.pad_to = dict(pad_to or {})
        self.lost = frozenset(lost)
        self.device = device or torch.device("cpu")
        self.padded = padded
        self.on_read = on_read
        self.frames = {name: resident(stream, self.device) for name, stream in self.streams.items()}
        self.far = any(frames.device.type != self.device.type for frames in self.frames.values())

    def batch(
        self, rows: NDArray[np.int64], partners: Mapping[str, NDArray[np.int64]] | None = None
    ) -> dict[str, Frames]:
        """The utterances at these rows of the study's table.

        Args:
            rows: Rows of the study.
            partners: Other rows for some streams (``--re-pair``).
        """
        rows_of = partners or {}
        for name in self.streams if self.on_read else ():
            self.tell(rows_of.get(name, rows))
        self.expect(rows, partners)
        return {name: self._stream(name, rows_of.get(name, rows)) for name in self.streams}

    def expect(self, rows: Rows, partners: Partners | None = None) -> None:
        """Asks the disk for the frames of a batch that comes next, where they lie there."""
        for name, frames in self.frames.items():
            if frames.files and name not in self.lost:
                read_ahead(frames.files, self.streams[name].offsets, (partners or {}).get(name, rows))

    def tell(self, rows: Rows) -> None:
        """Reports that these rows are read, and the rows of the study that are their previous turns."""
        if self.on_read is None:
            return
        self.on_read(rows)
        for stream in self.streams.values():
            if stream.context is not None:
                near = stream.context.previous[rows]
                self.on_read(near[(near >= 0) & (near < len(stream.lengths))])

    def batches(self, parts: Iterable[tuple[NDArray[np.int64], Partners]]) -> Iterator[dict[str, Frames]]:
        """``batch`` for one after the other; the next one is made ready meanwhile where frames come from far or from the disk."""
        parts = list(parts)
        if not self.far:
            for part, coming in zip_longest(parts, parts[1:]):
                if coming is not None:
                    self.expect(*coming)
                yield self.batch(*part)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="gather") as ahead:
            waiting = None
            for part in parts:
                following = ahead.submit(self.batch, *part)
                if waiting is not None:
                    yield waiting.result()
                waiting = following
            if waiting is not None:
                yield waiting.result()

    def _stream(self, name: str, rows: NDArray[np.int64]) -> Frames:
        offsets, frames, fixed = self.streams[name].offsets, self.frames[name], self.pad_to.get(name)
        own = np.zeros(len(rows), np.int64) if name in self.lost else offsets[rows + 1] - offsets[rows]
        lengths = own if fixed is None else np.full(len(rows), fixed)
        begin = np.cumsum(lengths) - lengths  # of each utterance in the batch
        place = np.arange(lengths.sum()) - np.repeat(begin, lengths)  # of each frame in its utterance
        which = np.repeat(offsets[rows], lengths) + place
        there = None if fixed is None else place < np.repeat(own, lengths)
        index = sent(which if there is None else np.where(there, which, 0), frames.device)
        values = self._gathered(frames, index)
        if there is not None:
            values[sent(np.flatnonzero(~there), self.device)] = 0
        all_content = fixed is not None or not frames.special[rows[own > 0]].any()
        content = None if all_content else self._near(frames.content.index_select(0, index))
        batch = Packed(values, lengths.tolist(), content, all_content=all_content)
        context = self.streams[name].context
        if context is not None and name not in self.lost:
            batch = append(batch, context, rows)
        return pad(batch) if self.padded else batch

    def _gathered(self, frames: Resident, index: torch.Tensor) -> torch.Tensor:
        """These frames where batches go, float32: (frames, features), or (frames, layers, features) where there are several."""
        layers = frames.layers
        if len(layers) == 1:
            return self._near(layers[0].index_select(0, index)).float()
        dtype = layers[0].dtype if frames.device.type != self.device.type else torch.float32
        values = torch.empty(len(index), len(layers), layers[0].shape[1], dtype=dtype, device=frames.device)
        for number, layer in enumerate(layers):  # one after the other: together they are large
            values[:, number] = layer.index_select(0, index)
        return self._near(values).float()

    def _near(self, values: torch.Tensor) -> torch.Tensor:
        """What was gathered, on the device of the batches."""
        return values if values.device.type == self.device.type else sent(values, self.device)

    def by_length(
        self, rows: NDArray[np.int64], size: int, partners: Mapping[str, NDArray[np.int64]] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], dict[str, Frames]]]:
        """All of these rows in batches of similar length, for evaluation; yields the rows and their batch.

        Args:
            rows: Rows of the study.
            size: Utterances per batch, or fewer where they would be more than ``MOST`` numbers.
            partners: Other rows for some streams, in the order of ``rows``.
        """
        longest = max(self.streams, key=lambda n: int(self.streams[n].offsets[-1]))
        order = np.argsort(self.streams[longest].lengths[rows], kind="stable")
        parts = self._cuts(rows, order, size)
        others = [{name: other[part] for name, other in (partners or {}).items()} for part in parts]
        yield from zip(
            [rows[part] for part in parts],
            self.batches(zip([rows[part] for part in parts], others, strict=True)),
            strict=True,
        )

    def _cuts(self, rows: Rows, order: Rows, size: int) -> list[Rows]:
        """The order cut into batches; see ``by_length``."""
        numbers = np.zeros(len(rows), dtype=np.int64)
        for name, stream in self.streams.items():
            frames = stream.lengths[rows] if name not in self.pad_to else self.pad_to[name]
            numbers += frames * len(stream.layers) * stream.features
        cuts, held, began = [0], 0, 0
        for at, number in enumerate(numbers[order].tolist()):
            if at > began and (at - began == size or held + number > MOST):
                cuts.append(at)
                held, began = 0, at
            held += number
        return [order[start:end] for start, end in zip(cuts, [*cuts[1:], len(order)], strict=True) if start < end]
