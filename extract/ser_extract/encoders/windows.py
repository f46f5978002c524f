"""Long inputs in overlapping windows, joined again without a seam in the frame grid.

A window starts at a multiple of the model's stride, so that its frames lie on the grid of the whole input; each of two
neighbours gives the half of their overlap that is nearer to its own middle. What a model computes over the whole of its
input (attention, a norm over time) sees one window: that is declared in the cache's fingerprint.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


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
