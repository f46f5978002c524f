"""Computes contributions along a stream by integrated gradients: how each frame moves the score on the way from the mean frame.

The path is straight, for all streams at once; its integral is by Gauss and Legendre. Contributions of a word's pieces are added.

Source: Sundararajan, Taly and Yan, ICML 2017.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ser_fusion.frames.batches import Frames, Packed
from ser_predict.explain.shares import Member, exactly

if TYPE_CHECKING:
    from ser_extract.encoders.source import Source

MOST_FRAMES = 4_096
"""Frames that go through a head at once: attention's memory grows with them."""
LEAST = 5
"""Fewest moments or words whose order is compared with the control's."""
SPECIAL = "[special]"
"""Stands for the tokens that belong to no word: CLS, SEP and their kin."""


@dataclass(frozen=True, slots=True)
class Track:
    """Contributions along one stream.

    Attributes:
        stream: Its name.
        names: Words, or the second at which each frame begins.
        values: Contribution of each to the score of the class.
        control: The same by a head that learned shuffled labels; empty without a control.
    """

    stream: str
    names: list[str] | list[float]
    values: list[float]
    control: list[float] = field(default_factory=list)

    @property
    def of_words(self) -> bool:
        """Says whether it runs over words."""
        return bool(self.names) and isinstance(self.names[0], str)

    @property
    def likeness(self) -> float | None:
        """Rank correlation of the sizes with the control's, -1 to 1; near 1 the picture says nothing of the label."""
        from scipy.stats import spearmanr

        sizes, others = np.abs(self.values), np.abs(self.control)
        if len(others) < LEAST or not sizes.std() or not others.std():
            return None
        return float(spearmanr(sizes, others).statistic)

    @property
    def strength(self) -> float | None:
        """Mean size of the control's contributions as a share of these; 0 is a flat control."""
        sizes = float(np.abs(self.values).sum())
        return float(np.abs(self.control).sum()) / sizes if self.control and sizes else None


def frame_contributions(
    members: Sequence[Member], batch: Mapping[str, Frames], target: int, steps: int = 32
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Computes the mean contribution of every frame to the score of a class.

    Args:
        members: Heads of one row of a run.
        batch: One utterance, packed.
        target: Number of the class.
        steps: Points of the path.

    Returns:
        Stream -> (frames,); and how far their sum is from the change of the score, as a share of that change.
    """
    totals: dict[str, NDArray[np.float64]] = {}
    change = 0.0
    for member in members:
        parts, difference = _of_member(member, exactly(batch), target, steps)
        change += difference / len(members)
        for stream, values in parts.items():
            totals[stream] = totals.get(stream, 0.0) + values / len(members)
    gap = abs(float(sum(values.sum() for values in totals.values())) - change)
    return totals, gap / max(abs(change), 1e-9)


def _of_member(
    member: Member, batch: Mapping[str, Frames], target: int, steps: int
) -> tuple[dict[str, NDArray[np.float64]], float]:
    ends = {stream: frames.values for stream, frames in batch.items()}
    starts = {}
    for stream, values in ends.items():
        mean: Tensor = member.model.inputs[stream].get_buffer("mean")  # (layers, features): what the head sees as zero
        starts[stream] = (mean if values.ndim == 3 else mean[0]).expand_as(values)
    points, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(steps))
    points, weights = (points + 1) / 2, weights / 2
    size = max(1, MOST_FRAMES // max(sum(len(values) for values in ends.values()), 1))
    sums = {stream: torch.zeros_like(values) for stream, values in ends.items()}
    for place in range(0, steps, size):
        chunk = points[place : place + size]
        between = {}
        for stream, values in ends.items():
            along = chunk.view(-1, *[1] * values.ndim)
            path = torch.lerp(starts[stream], values, along).flatten(0, 1).requires_grad_()
            between[stream] = Packed(path, batch[stream].lengths * len(chunk), batch[stream].content.repeat(len(chunk)))
        score = member.scores(between)[:, target] @ weights[place : place + size]
        paths = [frames.values for frames in between.values()]
        for stream, slope in zip(between, torch.autograd.grad(score, paths, allow_unused=True), strict=True):
            if slope is not None:
                sums[stream] += slope.view(len(chunk), *ends[stream].shape).sum(0)
    parts = {stream: ((ends[stream] - starts[stream]) * sums[stream]).flatten(1).sum(1).numpy() for stream in ends}
    with torch.inference_mode():
        first = {stream: frames.with_values(starts[stream].clone()) for stream, frames in batch.items()}
        difference = float((member.scores(batch) - member.scores(first))[0, target])
    return parts, difference


def token_spans(source: "Source", text: str) -> list[tuple[int, int]]:
    """Returns begin and end of each token in the text; they are equal at special tokens."""
    from ser_extract.encoders.text_engine import load_tokenizer

    encoding: Any = load_tokenizer(source)(text, truncation=False, return_offsets_mapping=True)
    return [(int(begin), int(end)) for begin, end in encoding["offset_mapping"]]


def by_word(
    text: str, spans: Sequence[tuple[int, int]], values: NDArray[np.float64]
) -> list[tuple[str, NDArray[np.float64]]]:
    """Returns a text's words in order, each with the sum over its tokens; ``SPECIAL`` last, if there are special tokens.

    Args:
        text: As it was tokenised.
        spans: Of the tokens, (tokens,).
        values: Per token, (tokens,) or (tokens, k).
    """
    words = list(re.finditer(r"\S+", text))
    sums = [np.zeros(values.shape[1:]) for _ in words]
    special, has_special = np.zeros(values.shape[1:]), False
    for (begin, end), value in zip(spans, values, strict=True):
        # a token may begin with the blank before its word: its last character decides
        place = next((n for n, word in enumerate(words) if word.start() < end <= word.end()), None)
        if begin == end or place is None:
            special, has_special = special + value, True
        else:
            sums[place] = sums[place] + value
    contributions = [(word.group(), total) for word, total in zip(words, sums, strict=True)]
    return [*contributions, (SPECIAL, special)] if has_special else contributions
