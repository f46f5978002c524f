"""A batch of one stream: frames of several utterances, packed without padding or padded with a mask.

Heads and poolings are written once, against ``Frames``; the two engines below give the same numbers:

``Packed``  (sum of T, features), utterance after utterance. No padding anywhere: linear layers run on the whole matrix,
            attention sees one utterance at a time, without a mask. The engine, on a CPU and on a GPU.
``Padded``  (batch, longest T, features) and a mask. The reference of the contract tests, and what exports are made of.

What only depends on lengths is computed from them on the host and sent ahead: nothing here asks the device for a number, so
that a GPU is never waited for in the middle of a step.

Cost at IEMOCAP's lengths (mean 4.5 s, tail to 30 s, random batches of 32): a padded batch holds 2 to 3.4 times as many
frames, and 8 times as many attention scores, as the packed one.

``content`` marks the frames that are summarised by poolings. Special tokens ([CLS], [SEP]) take part in attention but are
not content; an utterance that has nothing else counts all of its frames, so that no pooling meets an empty set unless the
utterance has no frame at all. An utterance without frames is legal: it pools to zeros.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from ser_fusion.frames.device import sent
from ser_fusion.frames.kernels import last_states, packed_attention, padded_attention

_TINY = 1e-10  # variances below are rounding noise: the deviation is 0 there, and its gradient 0 instead of 0 / 0


def _root(variance: Tensor) -> Tensor:
    return torch.where(variance > _TINY, variance.clamp(min=_TINY).sqrt(), variance.new_zeros(()))


class Frames(ABC):
    """Frames of one stream for a batch of utterances.

    Attributes:
        values: Features; shape by engine, float32.
        content: Frames that poolings summarise; bool, the shape of ``values`` without its last axis.
        lengths: Frames per utterance, special tokens included.
        distance: How many turns ago each frame was, 0 for the utterance's own; int64, the shape of ``content``. None where no
            previous turns are read.
    """

    values: Tensor
    content: Tensor
    lengths: tuple[int, ...]
    distance: Tensor | None = None

    @property
    def utterances(self) -> int:
        """Number of utterances in the batch."""
        return len(self.lengths)

    @property
    def counts(self) -> Tensor:
        """Frames per utterance, (batch,), int64."""
        return sent(self.lengths, self.values.device)

    @property
    def all_heard(self) -> bool:
        """Whether every utterance is known to have frames."""
        return all(self.lengths)

    def with_values(self, values: Tensor) -> Self:
        """The same utterances with other features (any width)."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.values = values
        return other

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply a function that treats every frame alone (linear layer, norm, dropout)."""
        return self.with_values(function(self.values))

    @abstractmethod
    def mean(self, content: bool = True) -> Tensor:
        """Mean over time, (batch, width); over content frames, or over all frames."""

    @abstractmethod
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (ddof 0) over the content frames, each (batch, width)."""

    @abstractmethod
    def max(self) -> Tensor:
        """Maximum over the content frames, (batch, width); zeros for an utterance without frames."""

    @abstractmethod
    def weighted(self, scores: Tensor) -> Tensor:
        """Sum of the content frames weighted by the softmax over time of ``scores`` (one per frame), (batch, width)."""

    @abstractmethod
    def first(self) -> Tensor:
        """Position 0 of every utterance, (batch, width); zeros for an utterance without frames."""

    @abstractmethod
    def attend(self, keys: Self, values: Self, heads: int) -> Self:
        """Scaled dot-product attention of these queries over another stream's frames of the same utterance."""

    @abstractmethod
    def extend(self, tokens: Tensor) -> Self:
        """Append n tokens (batch, n, width) behind the frames of every utterance."""

    @abstractmethod
    def retract(self, count: int) -> tuple[Self, Tensor]:
        """Undo ``extend``: the frames, and the tokens (batch, n, width)."""

    @abstractmethod
    def last_state(self, layer: nn.GRU) -> Tensor:
        """State of a uni-directional GRU after each utterance's last frame, (batch, hidden); zeros without frames."""


Batch = Mapping[str, Frames]


class Packed(Frames):
    """All utterances one after another, no padding: values (sum of T, width), content (sum of T,)."""

    def __init__(
        self,
        values: Tensor,
        lengths: Sequence[int],
        content: Tensor | None = None,
        *,
        all_content: bool | None = None,
    ) -> None:
        self.values = values
        self.lengths = tuple(lengths)
        device, total = values.device, values.shape[0]
        sizes = self._counts = sent(self.lengths, device)
        self.segment = sent(np.repeat(np.arange(len(self.lengths)), self.lengths), device)
        if all_content is None:
            all_content = content is None or bool(content.all())
        self.all_content = self.within = all_content  # within: apart from tokens that were appended
        self.content = torch.ones(total, dtype=torch.bool, device=device) if content is None else content
        counts = sizes if all_content else torch.zeros_like(sizes).index_add_(0, self.segment, self.content.long())
        self.frame_counts = sizes.clamp(min=1).to(torch.float32).unsqueeze(1)
        self.content_counts = counts.clamp(min=1).to(torch.float32).unsqueeze(1)

    @property
    def counts(self) -> Tensor:
        return self._counts

    def _sum(self, values: Tensor) -> Tensor:
        return values.new_zeros(len(self.lengths), values.shape[1]).index_add_(0, self.segment, values)

    def mean(self, content: bool = True) -> Tensor:
        if content and not self.all_content:
            return self._sum(self.values * self.content.unsqueeze(1)) / self.content_counts
        return self._sum(self.values) / (self.content_counts if content else self.frame_counts)

    def moments(self) -> tuple[Tensor, Tensor]:
        mean = self.mean()
        # two passes: the one-pass form loses digits where the mean is large against the spread
        spread = (self.values - mean.index_select(0, self.segment)).square()
        if not self.all_content:
            spread = spread * self.content.unsqueeze(1)
        return mean, _root(self._sum(spread) / self.content_counts)

    def max(self) -> Tensor:
        lowest = torch.finfo(self.values.dtype).min
        values = self.values if self.all_content else self.values.masked_fill(~self.content.unsqueeze(1), lowest)
        index = self.segment.unsqueeze(1).expand_as(values)
        top = values.new_full((len(self.lengths), values.shape[1]), lowest)
        top = top.scatter_reduce(0, index, values, "amax", include_self=False)
        return torch.where(top == lowest, torch.zeros_like(top), top)

    def weighted(self, scores: Tensor) -> Tensor:
        scores = scores.reshape(-1).masked_fill(~self.content, -torch.inf)
        top = scores.new_full((len(self.lengths),), -torch.inf)
        top = top.scatter_reduce(0, self.segment, scores.detach(), "amax", include_self=False)
        weights = (scores - top.index_select(0, self.segment)).exp().unsqueeze(1)
        return self._sum(self.values * weights) / self._sum(weights).clamp(min=1e-12)

    def first(self) -> Tensor:
        lengths = np.array(self.lengths)
        starts, filled = np.cumsum(lengths) - lengths, np.flatnonzero(lengths)
        first = self.values.index_select(0, sent(starts[filled], self.values.device))
        if len(filled) == len(lengths):
            return first
        empty = self.values.new_zeros(len(lengths), self.values.shape[1])
        return empty.index_copy(0, sent(filled, self.values.device), first)

    def attend(self, keys: Self, values: Self, heads: int) -> Self:
        out = packed_attention(self.values, keys.values, values.values, self.lengths, keys.lengths, heads)
        return self.with_values(out)

    def extend(self, tokens: Tensor) -> Self:
        batch, count, width = tokens.shape
        places = sent(interleaved(self.lengths, [count] * batch), self.values.device)
        rows = torch.cat([self.values, tokens.reshape(-1, width)]).index_select(0, places)
        marks = torch.cat([self.content, self.content.new_zeros(batch * count)]).index_select(0, places)
        lengths = [length + count for length in self.lengths]
        longer = type(self)(rows, lengths, marks, all_content=self.all_content and not batch * count)
        longer.within = self.all_content
        return longer

    def retract(self, count: int) -> tuple[Self, Tensor]:
        ends, device = np.cumsum(self.lengths), self.values.device
        tokens = (ends[:, None] + np.arange(-count, 0)).reshape(-1)
        rows = sent(np.setdiff1d(np.arange(self.values.shape[0]), tokens, assume_unique=True), device)
        lengths = [length - count for length in self.lengths]
        content = self.content.index_select(0, rows)
        kept = type(self)(self.values.index_select(0, rows), lengths, content, all_content=self.within)
        return kept, self.values.index_select(0, sent(tokens, device)).view(len(lengths), count, -1)

    def last_state(self, layer: nn.GRU) -> Tensor:
        return last_states(layer, self.values, self.lengths)


class Padded(Frames):
    """Utterances side by side: values (batch, longest T, width), content and mask (batch, longest T)."""

    def __init__(self, values: Tensor, lengths: Sequence[int], content: Tensor | None = None) -> None:
        self.values = values
        self.lengths = tuple(lengths)
        sizes = torch.tensor(self.lengths, device=values.device).unsqueeze(1)
        self.mask = torch.arange(values.shape[1], device=values.device).unsqueeze(0) < sizes
        self.content = self.mask if content is None else content & self.mask

    def _kept(self, values: Tensor, mask: Tensor) -> Tensor:
        # where, not multiplication: 0 x NaN is NaN, and garbage in the padding must change nothing
        return torch.where(mask.unsqueeze(2), values, values.new_zeros(()))

    def mean(self, content: bool = True) -> Tensor:
        mask = self.content if content else self.mask
        return self._kept(self.values, mask).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)

    def moments(self) -> tuple[Tensor, Tensor]:
        mean = self.mean()
        spread = (self._kept(self.values, self.content) - mean.unsqueeze(1)).square()
        variance = self._kept(spread, self.content).sum(1) / self.content.sum(1, keepdim=True).clamp(min=1)
        return mean, _root(variance)

    def max(self) -> Tensor:
        if not self.values.shape[1]:
            return self.values.new_zeros(self.values.shape[0], self.values.shape[2])
        lowest = torch.finfo(self.values.dtype).min
        top = self.values.masked_fill(~self.content.unsqueeze(2), lowest).amax(1)
        return torch.where(top == lowest, torch.zeros_like(top), top)

    def weighted(self, scores: Tensor) -> Tensor:
        scores = scores.reshape(self.content.shape).masked_fill(~self.content, torch.finfo(scores.dtype).min)
        weights = torch.where(self.content, scores.softmax(1), scores.new_zeros(()))
        return (self._kept(self.values, self.content) * weights.unsqueeze(2)).sum(1)

    def first(self) -> Tensor:
        if not self.values.shape[1]:
            return self.values.new_zeros(self.values.shape[0], self.values.shape[2])
        return torch.where(self.mask[:, :1], self.values[:, 0], self.values.new_zeros(()))

    def attend(self, keys: Self, values: Self, heads: int) -> Self:
        out = padded_attention(self.values, keys.values, values.values, keys.mask, heads)
        return self.with_values(out)

    def extend(self, tokens: Tensor) -> Self:
        # The tokens stand behind the padding, not behind the frames: attention does not know places, the mask does.
        other = self.with_values(torch.cat([self.values, tokens], 1))
        more = self.mask.new_ones(tokens.shape[:2])
        other.mask = torch.cat([self.mask, more], 1)
        other.content = torch.cat([self.content, ~more], 1)
        return other

    def retract(self, count: int) -> tuple[Self, Tensor]:
        frames = self.with_values(self.values[:, :-count])
        frames.mask, frames.content = self.mask[:, :-count], self.content[:, :-count]
        return frames, self.values[:, -count:]

    def last_state(self, layer: nn.GRU) -> Tensor:
        filled = self.mask.any(1)
        rows = [row[:length] for row, length in zip(self.values, self.lengths, strict=True) if length]
        out = self.values.new_zeros(len(self.lengths), layer.hidden_size)
        if not rows:
            return out
        sizes = torch.tensor([len(row) for row in rows])
        packed = pack_padded_sequence(pad_sequence(rows), sizes, enforce_sorted=False)
        _, state = layer(packed)
        return out.index_copy(0, filled.nonzero().squeeze(1), state[0].to(out.dtype))


def interleaved(
    lengths: Sequence[int] | NDArray[np.int64], counts: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rows of [all frames; all tokens] such that each utterance's tokens stand behind its frames.

    Args:
        lengths: Frames per utterance.
        counts: Tokens per utterance.
    """
    numbers = np.arange(len(lengths))
    owner = np.concatenate([np.repeat(numbers, lengths), np.repeat(numbers, counts)])
    return np.argsort(owner, kind="stable")  # stable: frames before tokens, and each in its order


def pad(frames: Packed) -> Padded:
    """The same batch, padded with zeros."""
    parts = frames.values.split(list(frames.lengths))
    marks = frames.content.split(list(frames.lengths))
    values = pad_sequence(list(parts), batch_first=True)
    full = Padded(values, frames.lengths, pad_sequence(list(marks), batch_first=True))
    if frames.distance is not None:
        full.distance = pad_sequence(list(frames.distance.split(list(frames.lengths))), batch_first=True)
    return full
