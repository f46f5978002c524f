"""The engine of all text encoders: tokens in length-sorted batches, packed or padded and masked, long texts in windows.

Both equal batch 1 (BERT has no norm over time). On a CPU texts are packed, where the family can: no product is spent on
padding, none is as small as one text (docs/background/performance.md). Elsewhere they are padded with a mask. A text with more tokens
than the encoder has positions goes in overlapping windows, each with the special tokens around it, and is joined again;
nothing is ever cut off silently. Special tokens stay in the cache, marked, so that pooling can leave them out.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import nn

from ser_extract.encoders import batches
from ser_extract.encoders.base import Description, Encoded, EngineOptions, Refused, Windowing, first_line
from ser_extract.encoders.batches import BatchRule, States, cut, join_layers
from ser_extract.encoders.loading import Taps, autocast, load_model, lowered, to_device, to_host
from ser_extract.encoders.products import lay_out
from ser_extract.encoders.source import Source
from ser_extract.errors import EncoderBroken

# Texts one behind another in one row, without padding, on a CPU. Optional: padded batches give the same.
#
# The modules are transformers' own; only their attention is another one, given by its public `AttentionInterface`: texts of
# equal length attend together, each to itself alone. Every matrix product of the blocks then has as many rows as the pack has
# tokens, so none is spent on padding and none is as small as one short text's. Positions are given, since each text begins anew.
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
        attended = nn.functional.scaled_dot_product_attention(q, k, v, scale=scaling)  # (count, heads, length, size)
        out.append(attended.transpose(1, 2).flatten(0, 1))
        start = stop
    return torch.cat(out)[None], None


BATCH_TEXTS = 32
BATCH_TOKENS = 2048
PACK_TOKENS = 2048
UNUSED = ("pooler",)
ALIKE = 0.7  # a batch's shortest text against its longest on a CPU: padding costs at most three tenths


def load(
    source: Source,
    description: Description,
    layers: tuple[int, ...],
    options: EngineOptions,
    blocks: Callable[[Any], nn.ModuleList],
    instead: Callable[[Any], Mapping[int, nn.Module]],
    first: int | None = None,
) -> "TextEngine":
    """Loads a text encoder and its tokenizer; `first` is the position of a text's first token where texts can be packed."""
    model = load_model(source, options, UNUSED)
    taps = Taps(blocks(model), layers, instead(model))
    packed = PackedTexts(model, taps, first) if options.packs and first is not None else None
    if packed is not None and not lowered(options):
        lay_out(model)
    return TextEngine(model, load_tokenizer(source), taps, description, options, packed)


def load_tokenizer(source: Source) -> Any:
    """The fast tokenizer of a folder; needs `tokenizer.json` or the files it can be made from."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(source.folder), local_files_only=True, trust_remote_code=False, use_fast=True
        )
    except Exception as error:  # whatever a foreign file makes transformers and its readers raise
        problem = f"its tokenizer cannot be loaded ({first_line(error)})"
        raise EncoderBroken(source.name, problem, "Save the tokenizer into the same folder.") from error


class TextEngine:
    """Tokenises, batches by length, cuts and joins."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        taps: Taps,
        description: Description,
        options: EngineOptions,
        packed: PackedTexts | None = None,
    ) -> None:
        self._model, self._tokenizer, self._taps = model, tokenizer, taps
        self._description, self._options = description, options
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else model.config.pad_token_id
        self._padding = int(padding or 0)
        most = 1 if options.batch == 0 else BATCH_TEXTS
        budget = BATCH_TOKENS if options.batch is None else options.batch
        alike = ALIKE if options.batch is None and options.device == "cpu" else 0.0
        self._rule = BatchRule(budget=budget, most=most, least=alike)
        self._forward: batches.Forward = self._padded
        self.policy = {
            "engine": "stock",
            "device": options.device,
            "compute": options.compute,
            "batch": self._rule.name,
        }
        if packed is not None:
            self._rule, self._forward = BatchRule(budget=PACK_TOKENS, most=PACK_TOKENS), packed
            self.policy |= {"engine": "packed", "batch": "packed"}

    def encode(self, inputs: Sequence[str]) -> list[Encoded | Refused]:
        """Encodes normalised texts."""
        tokenised = self._tokenizer(
            list(inputs), truncation=False, padding=False, return_special_tokens_mask=True, return_attention_mask=False
        )
        pieces: list[list[int]] = []
        layouts = []
        for ids, mask in zip(tokenised["input_ids"], tokenised["special_tokens_mask"], strict=True):
            layout = _Layout(ids, mask, self._description.windowing)
            layouts.append((layout, len(pieces)))
            pieces += layout.pieces
        results = batches.run(pieces, self._forward, self._rule)
        return [layout.joined(results[first : first + len(layout.pieces)]) for layout, first in layouts]

    def _padded(self, pieces: Sequence[list[int]]) -> batches.Later:
        longest = max(len(piece) for piece in pieces)
        ids = torch.full((len(pieces), longest), self._padding, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, piece in enumerate(pieces):
            ids[row, : len(piece)] = torch.tensor(piece)
            mask[row, : len(piece)] = 1
        with torch.inference_mode(), autocast(self._options):
            tokens, real = (to_device(tensor, self._options.device) for tensor in (ids, mask))
            states = self._taps.run(lambda: self._model(input_ids=tokens, attention_mask=real))
            host = to_host(states)

        def taken() -> list[batches.States]:
            whole = host()
            return [
                {layer: state[row, : len(piece)] for layer, state in whole.items()} for row, piece in enumerate(pieces)
            ]

        return taken


class _Layout:
    """One text as the pieces that go through the model, and the way back."""

    def __init__(self, ids: list[int], mask: list[int], windowing: Windowing) -> None:
        self.special = np.array(mask, bool)
        self._ids = ids
        head = next((k for k, special in enumerate(mask) if not special), len(ids))
        tail = next((k for k, special in enumerate(reversed(mask)) if not special), 0) if head < len(ids) else 0
        self._head, self._tail = head, tail
        self._windows = [(0, len(ids) - head - tail)]
        if len(ids) > windowing.length:
            room = windowing.length - head - tail
            self._windows = cut(len(ids) - head - tail, room, min(windowing.overlap, room // 2))
        end = ids[len(ids) - tail :]
        self.pieces = [ids[:head] + ids[head + start : head + stop] + end for start, stop in self._windows]

    def joined(self, states: Sequence[batches.States | None]) -> Encoded | Refused:
        whole = [state for state in states if state is not None]
        if len(whole) < len(states):
            return Refused("out_of_memory", f"{len(self._ids)} tokens do not fit on the device")
        if len(whole) == 1:
            return Encoded(dict(whole[0]), self.special)
        starts = [start for start, _ in self._windows]
        stop = [len(piece) - self._tail for piece in self.pieces]
        inner = [{k: v[self._head : end] for k, v in state.items()} for state, end in zip(whole, stop, strict=True)]
        middle = join_layers(inner, starts)
        joined = {
            layer: np.concatenate([whole[0][layer][: self._head], middle[layer], whole[-1][layer][stop[-1] :]])
            for layer in middle
        }
        return Encoded(joined, self.special)
