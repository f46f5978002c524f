"""Pieces of inputs through a model in batches: sorted by length, within a budget, halved when memory runs out.

The order and company of a piece never change its features; they only change the time. Padding costs what it costs, so
sorted batches of like lengths are made, and an engine that cannot mask its padding gets equal lengths only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

States = Mapping[int, "np.ndarray[Any, Any]"]
Later = Callable[[], list[States]]
Forward = Callable[[Sequence[Any]], "list[States] | Later"]
"""Pieces of one batch -> their states, or a function that waits for them where a device is still at work on them."""


@dataclass(frozen=True)
class BatchRule:
    """How pieces are put together.

    Attributes:
        budget: Longest piece times number of pieces, in input units; 0: every piece alone.
        most: Most pieces in a batch.
        equal: Only pieces of equal length share a batch (for models whose padding no mask can undo).
        least: Shortest piece of a batch as a share of its longest one; bounds what padding costs.
    """

    budget: int = 0
    most: int = 64
    equal: bool = False
    least: float = 0.0

    @property
    def name(self) -> str:
        """`solo`, `equal-length`, or `padded`, for the environment record."""
        return "solo" if self.budget == 0 else "equal-length" if self.equal else "padded"


def group(lengths: Sequence[int], rule: BatchRule) -> list[list[int]]:
    """Indices of pieces, batch by batch, longest first so that memory peaks at once and not at the end."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    for index in order:
        if batches and rule.budget:
            last = batches[-1]
            longest = lengths[last[0]]
            fits = longest * (len(last) + 1) <= rule.budget and len(last) < rule.most
            alike = lengths[index] == longest if rule.equal else lengths[index] >= rule.least * longest
            if fits and alike:
                last.append(index)
                continue
        batches.append([index])
    return batches


def run(pieces: Sequence[Any], forward: Forward, rule: BatchRule) -> list[States | None]:
    """Hidden states of every piece, in the order given; None where one piece alone is too large for the memory."""
    results: list[States | None] = [None] * len(pieces)
    begun: tuple[list[int], list[States] | Later] | None = None
    for batch in group([len(piece) for piece in pieces], rule):
        for part, states in _halving(batch, pieces, forward):
            if begun is not None:  # taken only now, so that the device had the next batch before
                _take(*begun, results)
            begun = part, states
    if begun is not None:
        _take(*begun, results)
    return results


def _take(part: list[int], states: list[States] | Later, results: list[States | None]) -> None:
    for index, each in zip(part, states() if callable(states) else states, strict=True):
        results[index] = each


def _halving(
    batch: list[int], pieces: Sequence[Any], forward: Forward
) -> Iterator[tuple[list[int], "list[States] | Later"]]:
    """One batch, in halves when the accelerator's memory does not hold it (on a CPU the system itself decides)."""
    try:
        states = forward([pieces[index] for index in batch])
    except torch.OutOfMemoryError:
        states = None
    if states is not None:
        yield batch, states
    elif len(batch) > 1:
        torch.cuda.empty_cache()  # outside the handler: its traceback keeps the failed batch's tensors alive
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            yield from _halving(half, pieces, forward)


# Long inputs in overlapping windows, joined again without a seam in the frame grid.
#
# A window starts at a multiple of the model's stride, so that its frames lie on the grid of the whole input; each of two
# neighbours gives the half of their overlap that is nearer to its own middle. What a model computes over the whole of its
# input (attention, a norm over time) sees one window: that is declared in the cache's fingerprint.
def cut(total: int, length: int, overlap: int, step: int = 1) -> list[tuple[int, int]]:
    """Windows `[start, stop)` that cover `total` units.

    Args:
        total: Units of the input (samples or tokens), at least 1.
        length: Longest window, in units.
        overlap: Least overlap of two neighbours, in units; smaller than `length`.
        step: Every start is a multiple of this (units per frame).

    Returns:
        One window when the input is not longer than `length`; else windows of `length`, the last one shorter but longer
        than `overlap`.
    """
    if total <= length:
        return [(0, total)]
    hop = max((length - overlap) // step * step, step)
    count = -(-(total - length) // hop) + 1
    return [(k * hop, min(k * hop + length, total)) for k in range(count)]


def join(states: "Sequence[np.ndarray[Any, Any]]", starts: Sequence[int]) -> "np.ndarray[Any, Any]":
    """Joins the frames of overlapping windows.

    Args:
        states: Per window `(frames, features)`.
        starts: Per window the index of its first frame in the whole.

    Returns:
        `(start of the last window + its frames, features)`.
    """
    if len(states) == 1:
        return states[0]
    parts, begin = [], 0
    for k, (frames, start) in enumerate(zip(states, starts, strict=True)):
        end = start + len(frames)
        stop = (starts[k + 1] + end) // 2 if k + 1 < len(states) else end
        parts.append(frames[begin - start : stop - start])
        begin = stop
    return np.concatenate(parts)


def join_layers(
    pieces: "Sequence[Mapping[int, np.ndarray[Any, Any]]]", starts: Sequence[int]
) -> "dict[int, np.ndarray[Any, Any]]":
    """`join` for every layer."""
    return {layer: join([piece[layer] for piece in pieces], starts) for layer in pieces[0]}
