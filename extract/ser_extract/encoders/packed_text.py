"""Texts one behind another in one row, without padding, on a CPU. Optional: padded batches give the same.

The modules are transformers' own; only their attention is another one, given by its public `AttentionInterface`: texts of
equal length attend together, each to itself alone. Every matrix product of the blocks then has as many rows as the pack has
tokens, so none is spent on padding and none is as small as one short text's. Positions are given, since each text begins anew.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import nn

from ser_extract.encoders.batches import States
from ser_extract.encoders.taps import Taps

NAME = "packed_texts"


class PackedTexts:
    """Pieces (token numbers) -> hidden states.

    Args:
        model: A base model of transformers whose blocks ask the `AttentionInterface`; it must see one row of ids as it is.
        taps: On its blocks.
        first: Position of a text's first token.
    """

    def __init__(self, model: Any, taps: Taps, first: int) -> None:
        from transformers import AttentionInterface

        AttentionInterface.register(NAME, attend)
        model.set_attn_implementation(NAME)
        self._model, self._taps, self._first = model, taps, first

    @torch.inference_mode()
    def __call__(self, pieces: Sequence[list[int]]) -> list[States]:
        lengths = [len(piece) for piece in pieces]
        ids = torch.tensor([[token for piece in pieces for token in piece]])
        positions = torch.cat([torch.arange(length) for length in lengths])[None] + self._first
        states = self._taps.run(lambda: self._model(input_ids=ids, position_ids=positions, lengths=lengths))
        host = {layer: state[0].float().split(lengths) for layer, state in states.items()}
        return [{layer: parts[row].numpy() for layer, parts in host.items()} for row in range(len(pieces))]


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    lengths: Sequence[int],
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each text: `(1, heads, tokens, size)` thrice -> `(1, tokens, heads, size)`."""
    out, start = [], 0
    for length, texts in groupby(lengths):
        count = len(list(texts))
        stop = start + count * length
        q, k, v = (each[0, :, start:stop].unflatten(1, (count, length)).transpose(0, 1) for each in (query, key, value))
        found = nn.functional.scaled_dot_product_attention(q, k, v, scale=scaling)  # (count, heads, length, size)
        out.append(found.transpose(1, 2).flatten(0, 1))
        start = stop
    return torch.cat(out)[None], None
