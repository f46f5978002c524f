"""The heads whose streams attend: each to itself, to each other, or to a few shared tokens."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ser_fusion.frames.batches import Batch, Frames
from ser_fusion.heads.base import Attention, Head, Projection, Readout
from ser_fusion.heads.shape import Shape


# ``self``: self-attention inside each stream, pooled, joined. Streams meet only in the classifier.
#
# Source: Rajan, Brutti & Cavallaro, ICASSP 2022; the study's Self-MHA.
class SelfHead(Head):
    """One self-attention per stream."""

    interacts = False

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        self.attend = nn.ModuleDict({s: Attention(self.project.width, shape) for s in self.streams})
        self.readout = Readout(self.streams, self.project.width, classes, shape)

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        frames = self.project({s: batch[s] for s in self.streams})
        return self.readout({s: self.attend[s](frames[s], frames[s]) for s in self.streams})


# ``cross``: every stream asks every other one. With audio and text: text over audio and audio over text.
#
# Source: Tsai et al. 2019 (MulT); Rajan, Brutti & Cavallaro, ICASSP 2022; the study's Cross-MHA. n streams have n (n - 1)
# attentions, each pooled on its own.
def pairs(streams: tuple[str, ...]) -> list[str]:
    """Names ``target<source`` of all ordered pairs of streams."""
    return [f"{target}<{source}" for target in streams for source in streams if source != target]


def cross(attend: nn.ModuleDict, frames: Mapping[str, Frames]) -> dict[str, Frames]:
    """Each pair's attention applied: queries of the target over the source."""
    out = {}
    for pair, attention in attend.items():
        target, _, source = pair.partition("<")
        out[pair] = attention(frames[target], frames[source])
    return out


class CrossHead(Head):
    """One cross-attention per ordered pair of streams."""

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        names = pairs(self.streams)
        self.attend = nn.ModuleDict({pair: Attention(self.project.width, shape) for pair in names})
        self.readout = Readout(names, self.project.width, classes, shape)

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        return self.readout(cross(self.attend, self.project({s: batch[s] for s in self.streams})))


# ``self+cross``: self-attention inside each stream, then every stream asks every other one; both results are pooled.
#
# Source: Rajan, Brutti & Cavallaro, ICASSP 2022 ("Cross+Self"; their order of the two is not published).
class SelfCrossHead(Head):
    """One self-attention per stream and one cross-attention per ordered pair."""

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        names = pairs(self.streams)
        self.attend_self = nn.ModuleDict({s: Attention(self.project.width, shape) for s in self.streams})
        self.attend_cross = nn.ModuleDict({pair: Attention(self.project.width, shape) for pair in names})
        self.readout = Readout((*self.streams, *names), self.project.width, classes, shape)

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        frames = self.project({s: batch[s] for s in self.streams})
        own = {s: self.attend_self[s](frames[s], frames[s]) for s in self.streams}
        return self.readout({**own, **cross(self.attend_cross, own)})


# ``text-queries-audio``: few text tokens ask many speech frames; nothing attends over speech by itself.
#
# Linear in the speech frames (about 14 queries instead of 224), so the cheapest head that aligns words and speech. Pools what
# the tokens found, the tokens, and the projected speech. With other streams, ``text`` (or the last stream) asks each of them.
class TextQueriesAudioHead(Head):
    """Cross-attention from the text's tokens only."""

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.project = Projection(dims, shape)
        asker = "text" if "text" in self.streams else self.streams[-1]
        names = [f"{asker}<{s}" for s in self.streams if s != asker]
        self.attend = nn.ModuleDict({pair: Attention(self.project.width, shape) for pair in names})
        self.readout = Readout((*self.streams, *names), self.project.width, classes, shape)

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (batch, classes)."""
        frames = self.project({s: batch[s] for s in self.streams})
        return self.readout({**frames, **cross(self.attend, frames)})


# ``bottleneck``: streams exchange information only through a few shared tokens.
#
# Source: attention bottlenecks, Nagrani et al., NeurIPS 2021, eq. 8-9: each stream attends over its own frames and B shared
# tokens; the tokens' updates are averaged over the streams. Two layers here: in the first the tokens collect from all
# streams, in the second the streams read what was collected.
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
