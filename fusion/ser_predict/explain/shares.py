"""Computes what each stream contributes to the score of a class: its Shapley value over all subsets of streams, exactly.

The score is the class's calibrated logit, less the mean over the classes: heads fix logits up to that mean only. A lost
stream has no frames, as with ``--lost-streams``.

Sources: Shapley 1953; Lundberg and Lee, NeurIPS 2017 (contributions add up to the score).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ser_fusion.frames.batches import Frames
from ser_fusion.frames.features import StreamFrames
from ser_fusion.frames.feed import Feed
from ser_fusion.heads.late import LateHead
from ser_fusion.heads.model import Model

Subset = frozenset[str]


@dataclass(frozen=True, slots=True)
class Member:
    """A trained head and its temperature; in float64, so that sums hold to many digits."""

    model: Model
    temperature: float
    pad_to: Mapping[str, int]

    def scores(self, batch: Mapping[str, Frames]) -> Tensor:
        """Returns calibrated logits less their mean over the classes, (batch, classes)."""
        return centred(self.model(batch) / self.temperature)

    def silent(self, nothing: Mapping[str, Frames]) -> Tensor:
        """Returns the score without any stream, (1, classes); of late heads that of the class frequencies in training.

        Where all streams are lost, late heads let each classifier speak of nothing, so that there is an answer at all.
        """
        head = self.model.head
        return centred(head.log_prior[None] / self.temperature) if isinstance(head, LateHead) else self.scores(nothing)


def centred(logits: Tensor) -> Tensor:
    """Returns logits less their mean over the classes, (.., classes)."""
    return logits - logits.mean(-1, keepdim=True)


def exactly(batch: Mapping[str, Frames]) -> dict[str, Frames]:
    """Returns the same frames in float64."""
    return {stream: frames.with_values(frames.values.double()) for stream, frames in batch.items()}


@torch.inference_mode()
def subset_scores(
    members: Sequence[Member], streams: Mapping[str, StreamFrames], row: int
) -> dict[Subset, NDArray[np.float64]]:
    """Computes the mean score of the heads for every subset of streams, each (classes,).

    Args:
        members: Heads of one row of a run.
        streams: Their frames.
        row: Row of the utterance.
    """
    names = members[0].model.streams
    present = {name for name in names if streams[name].lengths[row] or members[0].pad_to}

    def score(kept: Subset) -> NDArray[np.float64]:
        by_member = []
        for member in members:
            lost = [name for name in names if name not in kept]
            batch = exactly(Feed(streams, names, pad_to=member.pad_to, lost=lost).batch(np.array([row])))
            by_member.append((member.scores(batch) if kept else member.silent(batch))[0].double())
        return torch.stack(by_member).mean(0).numpy()

    subsets = [frozenset(kept) for size in range(len(names) + 1) for kept in combinations(names, size)]
    scores = {kept: score(kept) for kept in subsets if kept <= present}
    return {kept: scores[kept & present] for kept in subsets}


def shapley(scores: Mapping[Subset, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Returns what each stream contributes, in the form of the scores; the sum is the score of all less that of none.

    Args:
        scores: Score of every subset, the empty one too.
    """
    whole: Subset = max(scores, key=len)
    names = sorted(whole)
    count = len(names)
    shares = {}
    for name in names:
        total = np.zeros_like(scores[frozenset()])
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for others in combinations([other for other in names if other != name], size):
                total += weight * (scores[frozenset(others) | {name}] - scores[frozenset(others)])
        shares[name] = total
    return shares


def interaction(scores: Mapping[Subset, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Returns what all streams together say beyond the sum of what each says alone; 0 for additive heads."""
    nothing, whole = scores[frozenset()], max(scores, key=len)
    alone = [scores[frozenset([name])] - nothing for name in whole]
    return np.asarray(scores[whole] - nothing - np.sum(alone, axis=0))
