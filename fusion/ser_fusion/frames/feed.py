"""Batches from frames in memory: gathers the chosen utterances of every stream, packed; padded and moved for a GPU."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ser_fusion.frames.batches import Frames, Packed, pad
from ser_fusion.frames.context_tokens import append
from ser_fusion.frames.features import Rows, StreamFrames


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
