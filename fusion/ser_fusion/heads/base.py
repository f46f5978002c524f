"""What a head is, and the four blocks that heads are built from: projection, attention, pooling, classifier.

A head takes frames of named streams and gives one logit per class. It never sees how the batch is stored (packed or
padded), never mixes utterances, and takes any number of streams unless it is made for one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ser_fusion.frames.batches import Batch, Frames
from ser_fusion.frames.device import sent
from ser_fusion.heads.facts import HeadFacts
from ser_fusion.heads.pool_norm import PoolNorm
from ser_fusion.heads.shape import Shape
from ser_fusion.poolings import POOLINGS

_ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "gelu": nn.GELU}


class Head(HeadFacts, nn.Module):
    """Base of all heads.

    Args:
        dims: Features per frame of each stream the head reads, in order.
        classes: Number of classes.
        shape: Sizes and switches.

    Attributes:
        interacts: Whether what one stream adds to the score of a class can depend on another stream. Heads that are additive in
            the streams cannot learn, for example, that the same words mean something else in another voice.
        drops_streams: Whether ``Shape.stream_dropout`` means anything to it.
        apart: Whether nothing is shared between its experts (``experts``, one per stream), so that each keeps its own best
            epoch and ``calibrate`` is called.
    """

    interacts: ClassVar[bool] = True
    drops_streams: ClassVar[bool] = True
    apart: ClassVar[bool] = False

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__()
        self.streams = tuple(dims)
        self.classes = classes
        self.shape = shape

    @classmethod
    def reads_context(cls, shape: Shape) -> bool:
        """Whether tokens of previous turns (``--context``) change what this head says.

        They are no content, so no pooling counts them: a head reads them only through attention or a recurrence.
        """
        return True

    def prepare(self, targets: Tensor, prior: Tensor | None = None) -> None:
        """Called once before training; for heads that need the priors.

        Args:
            targets: Training targets (utterances,), int64.
            prior: Class distribution (classes,) that training shows where it is not the targets' own (weights, votes).
        """

    def calibrate(self, logits: Tensor, heard: Tensor, targets: Tensor) -> None:
        """Called on the development part with weights that are no longer trained, if the head is ``apart``.

        Args:
            logits: Of each expert, (experts, utterances, classes).
            heard: Whether its stream has a frame, (experts, utterances) bool.
            targets: Class numbers, (utterances,) int64.
        """

    def calibrate_like(self, other: "Head") -> None:
        """Takes what ``calibrate`` fitted in another training of this head, for one that has no development part."""

    def expert_logits(self, batch: Batch) -> list[Tensor]:
        """The logits that have a loss each, (batch, classes): the head's own, unless it trains several experts apart."""
        return [self(batch)]

    def classifiers(self) -> list[nn.Module]:
        """The modules that pooled vectors (batch, width) enter, one per expert; for losses on those vectors."""
        classifier = getattr(self, "classify", None) or getattr(getattr(self, "readout", None), "classify", None)
        return [classifier] if isinstance(classifier, nn.Module) else []

    def loss(self, batch: Batch, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """Sum over the batch of what training minimises by default: the cross-entropy of every expert."""
        cross_entropy = nn.functional.cross_entropy
        losses = [cross_entropy(each, targets, weight=weight, reduction="sum") for each in self.expert_logits(batch)]
        return torch.stack(losses).sum()

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        raise NotImplementedError


class Projection(nn.Module):
    """Every stream to one width: Linear, non-linearity, dropout; frame by frame."""

    def __init__(self, dims: Mapping[str, int], shape: Shape) -> None:
        super().__init__()
        streams = tuple(dims)
        anchor = "audio" if "audio" in dims else streams[0]
        self.width = shape.width or dims[anchor]
        kept = {anchor} if shape.width is None else set()
        if len(dims) == 1 and not shape.project_single:
            kept = set(dims)
            self.width = dims[anchor]
        self.linear = nn.ModuleDict({s: nn.Linear(d, self.width) for s, d in dims.items() if s not in kept})
        self.activation = _ACTIVATIONS[shape.activation]()
        self.input_dropout = nn.Dropout(shape.input_dropout)
        self.dropout = nn.Dropout(shape.frame_dropout)

    def forward(self, batch: Batch) -> dict[str, Frames]:
        """(.., width) per stream."""
        out = {}
        for stream, frames in batch.items():
            values = self.input_dropout(frames.values)
            if stream in self.linear:
                values = self.dropout(self.activation(self.linear[stream](values)))
            out[stream] = frames.with_values(values)
        return out


def attention_heads(width: int, wanted: int) -> int:
    """The greatest divisor of the width that is at most the wanted number of heads."""
    return next(n for n in range(min(wanted, width), 0, -1) if width % n == 0)


class Attention(nn.Module):
    """Multi-head attention of one stream's frames (queries) over another's (keys and values), or over their own.

    ``y = W_o softmax(q k^T / sqrt(d)) v``, each of q, k, v, o an affine map: 4 width^2 + 4 width parameters, those of
    ``torch.nn.MultiheadAttention``. With ``residual``: ``LayerNorm(x + dropout(y))``, or with ``norm_first`` ``x + dropout(y)``
    of normalised x and source, both by the same LayerNorm (Xiong et al. 2020; Tsai et al. 2019): the frames themselves
    then reach the pooling unchanged. With ``feedforward`` the same again around ``W_2 gelu(W_1 x)``.
    """

    def __init__(self, width: int, shape: Shape) -> None:
        super().__init__()
        self.heads = attention_heads(width, shape.attention_heads)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        for weight in (self.query.weight, *self.key_value.weight.chunk(2)):
            nn.init.xavier_uniform_(weight)
        for layer in (self.query, self.key_value, self.out):
            nn.init.zeros_(layer.bias)
        self.dropout = nn.Dropout(shape.frame_dropout)
        self.norm = nn.LayerNorm(width) if shape.residual else None
        self.norm_first = shape.norm_first
        self.feedforward: nn.Module | None = None
        if shape.feedforward:
            self.feedforward = nn.Sequential(
                nn.Linear(width, shape.feedforward),
                nn.GELU(),
                nn.Dropout(shape.frame_dropout),
                nn.Linear(shape.feedforward, width),
            )
            self.feedforward_norm = nn.LayerNorm(width)

    def forward(self, frames: Frames, source: Frames) -> Frames:
        """Frames of the queries' stream, each now knowing what it found in the source."""
        queries, source = self._asked(frames, source)
        keys, values = self.key_value(source.values).chunk(2, -1)
        attended = frames.with_values(queries).attend(source.with_values(keys), source.with_values(values), self.heads)
        values = self.dropout(self.out(attended.values))
        if self.norm is not None:
            values = frames.values + values
            values = values if self.norm_first else self.norm(values)
        if self.feedforward is not None:
            inside = self.feedforward_norm(values) if self.norm_first else values
            values = values + self.dropout(self.feedforward(inside))
            values = values if self.norm_first else self.feedforward_norm(values)
        return frames.with_values(values)

    def _asked(self, frames: Frames, source: Frames) -> tuple[Tensor, Frames]:
        """The queries (.., width), and the source as keys and values are made of it."""
        if self.norm is None or not self.norm_first:
            return self.query(frames.values), source
        own = self.norm(frames.values)
        other = own if source is frames else self.norm(source.values)
        return self.query(own), source.with_values(other)

    def weights(self, frames: Frames, source: Frames) -> list[Tensor]:
        """The attention weights for looking at: per utterance (heads, queries, keys). Packed batches only; not for training."""
        size = self.query.out_features // self.heads
        queries, source = self._asked(frames, source)
        keys = self.key_value(source.values).chunk(2, -1)[0]
        maps = []
        split = zip(queries.split(list(frames.lengths)), keys.split(list(source.lengths)), strict=True)
        for q, k in split:
            scores = torch.einsum("qhd,khd->hqk", q.view(len(q), self.heads, size), k.view(len(k), self.heads, size))
            maps.append((scores / size**0.5).softmax(-1))
        return maps


class Readout(nn.Module):
    """Pools each stream, joins the vectors, and classifies: dropout, [Linear,] Linear.

    Args:
        streams: Names of what is pooled; one pooling each. The name before ``<`` decides which pooling (``text<audio``).
        width: Width of the frames.
        classes: Number of classes.
        shape: Sizes and switches.
    """

    def __init__(self, streams: Sequence[str], width: int, classes: int, shape: Shape) -> None:
        super().__init__()
        self.pool = Pools(streams, width, shape)
        self.classify = classifier(self.pool.out_width, classes, shape)

    def forward(self, frames: Mapping[str, Frames]) -> Tensor:
        """Logits, (batch, classes)."""
        return self.classify(self.pool.join(self.pool(frames)))


class Pools(nn.Module):
    """One pooling per stream, and a norm of its vector (``Shape.pool_norm``): then a stream without frames gives zeros."""

    def __init__(self, streams: Sequence[str], width: int, shape: Shape) -> None:
        super().__init__()
        main = POOLINGS[shape.pooling]
        self.poolings = nn.ModuleDict({s: POOLINGS[shape.pooling_of(s.partition("<")[0])](width) for s in streams})
        self.widths = [int(pooling.out_width) for pooling in self.poolings.values()]  # type: ignore[arg-type]
        self.norms: nn.ModuleDict | None = None
        if shape.pool_norm == "batch":
            self.norms = nn.ModuleDict(dict(zip(self.poolings, map(PoolNorm, self.widths), strict=True)))
        self.join = main.join
        self.out_width = main.joined_width(self.widths)
        self.stream_dropout = shape.stream_dropout

    def forward(self, frames: Mapping[str, Frames]) -> list[Tensor]:
        """One vector per stream, (batch, width of its pooling)."""
        vectors = [pooling(frames[stream]) for stream, pooling in self.poolings.items()]
        if self.norms is not None:
            norms = zip(self.norms.items(), vectors, strict=True)
            vectors = [
                norm(vector, frames[stream].counts > 0, frames[stream].all_heard) for (stream, norm), vector in norms
            ]
        if self.stream_dropout and len(vectors) > 1:
            lengths = np.array([frames[stream].lengths for stream in self.poolings])
            present = sent(lengths.T > 0, vectors[0].device)
            if self.training:
                return drop_streams(vectors, self.stream_dropout, present)
            if not lengths.all():
                return scale_kept(vectors, present)
        return vectors


def drop_streams(vectors: Sequence[Tensor], probability: float, present: Tensor | None = None) -> list[Tensor]:
    """Zeroes each stream of each utterance with this probability, scales up what is kept; an utterance never loses all.

    Args:
        vectors: One per stream, (batch, any width).
        probability: In [0, 1).
        present: Streams that have frames at all, (batch, streams); None for all of them.
    """
    keep = torch.rand(len(vectors[0]), len(vectors), device=vectors[0].device) >= probability
    here = torch.ones_like(keep) if present is None else present
    keep = keep & here
    return scale_kept(vectors, torch.where(keep.any(1, keepdim=True), keep, here))


def scale_kept(vectors: Sequence[Tensor], keep: Tensor) -> list[Tensor]:
    """Zeroes the streams that are not kept and scales up the others, so that their sum keeps its size.

    A stream that is lost at test time is therefore what a dropped one was in training.

    Args:
        vectors: One per stream, (batch, any width).
        keep: (batch, streams) bool.
    """
    scale = keep.to(vectors[0].dtype) * len(vectors) / keep.sum(1, keepdim=True).clamp(min=1)
    return [vector * scale[:, n : n + 1] for n, vector in enumerate(vectors)]


def classifier(width: int, classes: int, shape: Shape) -> nn.Sequential:
    """Dropout, [Linear to ``hidden`` x width,] Linear to the classes; no non-linearity, see ``Shape.hidden``."""
    if not shape.hidden:
        return nn.Sequential(nn.Dropout(shape.pool_dropout), nn.Linear(width, classes))
    hidden = max(1, round(width * shape.hidden))
    return nn.Sequential(nn.Dropout(shape.pool_dropout), nn.Linear(width, hidden), nn.Linear(hidden, classes))


# The pooled vector of any head, looked at or changed on its way into the classifier.
#
# A head names the modules that its pooled vectors enter (``Head.classifiers``); while a tap is open a hook on each of them keeps
# what comes in, and may put something else in its place. No head has to know about contrastive losses, mixup or ratings.
@contextmanager
def tapped(head: Head, change: Callable[[Tensor], Tensor] | None = None) -> Iterator[list[Tensor]]:
    """Within the block, the list fills with the pooled vectors (batch, width) of each forward pass, one per classifier.

    Args:
        head: Whose vectors.
        change: What the classifiers get instead; the list holds the vectors as they were.
    """
    seen: list[Tensor] = []

    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        seen.append(inputs[0])
        return None if change is None else (change(inputs[0]), *inputs[1:])

    hooks = [module.register_forward_pre_hook(hook) for module in head.classifiers()]
    try:
        yield seen
    finally:
        for handle in hooks:
            handle.remove()


def widths(head: Head) -> list[int]:
    """Width of each pooled vector of a head."""
    return [
        next(part.in_features for part in module.modules() if isinstance(part, nn.Linear))
        for module in head.classifiers()
    ]
