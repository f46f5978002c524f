"""The text encoders: what they share in their configs, and one row for each family.

Read from the config alone, without torch; the engine is in `text_engine`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ser_extract.encoders.base import (
    CORE_FLOPS,
    Description,
    Engine,
    EngineOptions,
    InputOptions,
    Modality,
    Windowing,
    block_flops,
)
from ser_extract.encoders.source import Source, read_json
from ser_extract.encoders.stated import (
    CONFIG,
    LEAST_POSITIONS,
    TOKENIZER,
    Depth,
    Index,
    Positions,
    Text,
    Tokenizer,
    Width,
)

if TYPE_CHECKING:
    from torch import nn


PREPROCESSING = 1
OVERLAP = 64
CHARACTERS_PER_TOKEN = 4


class TextFamily:
    """A family of text encoders; one object each below.

    Args:
        name: The config's `model_type`.
        blocks: Loaded base model -> its stack of blocks.
        stated: What its config.json states: depth, width, positions.
        instead: Model -> layer -> module whose output is that hidden state where it is not the block's own.
        packs: Whether the model takes positions and its attention can be replaced (`text_engine`); else it runs in
            padded batches.
    """

    modality: Modality = "text"

    def __init__(
        self,
        name: str,
        blocks: "Callable[[Any], nn.ModuleList]",
        *,
        stated: type[Text] = Text,
        instead: "Callable[[Any], Mapping[int, nn.Module]]" = lambda model: {},
        packs: bool = False,
    ) -> None:
        self.name, self._blocks, self._stated, self._instead, self._packs = name, blocks, stated, instead, packs

    def describe(self, source: Source, options: InputOptions) -> Description:
        config = self._stated.of(source.config, source.name, CONFIG)
        depth, width, positions = config.depth, config.width, config.positions
        tokenizer = source.folder / TOKENIZER
        if tokenizer.is_file():
            stated = Tokenizer.of(read_json(tokenizer, source.name), source.name, TOKENIZER).model_max_length
            if stated is not None and LEAST_POSITIONS <= stated < positions:
                positions = int(stated)
        windowing = Windowing("tokens", positions, min(OVERLAP, positions // 4))
        cut = {"unit": windowing.unit, "length": windowing.length, "overlap": windowing.overlap}
        return describe_text(self.name, depth, width, windowing, {"preprocessing": PREPROCESSING, "windowing": cut})

    def load(self, source: Source, description: Description, layers: tuple[int, ...], options: EngineOptions) -> Engine:
        from ser_extract.encoders.text_engine import load

        first = self._stated.of(source.config, source.name, CONFIG).first if self._packs else None
        return load(source, description, layers, options, self._blocks, self._instead, first)


def describe_text(
    family: str, depth: int, width: int, windowing: Windowing, declared: Mapping[str, Any], note: str = ""
) -> Description:
    """Describes a text model of `depth` blocks and `width` features; the rest is as in `Description`."""
    return Description(
        modality="text",
        family=family,
        depth=depth,
        features=width,
        rate=None,
        frame_rate=None,
        shortest=1,
        frames=tokens,
        cost=lambda characters: depth * block_flops(tokens(characters), width) / CORE_FLOPS,
        windowing=windowing,
        declared=declared,
        note=note,
    )


def tokens(characters: int) -> int:
    """A rough number of tokens of a text, special ones included."""
    return 2 + -(-characters // CHARACTERS_PER_TOKEN)


# BERT (Devlin et al. 2019) and all checkpoints of its type: MiniLM, most sentence encoders, ELECTRA's discriminator.
#
# Post-norm: the output of block L is the hidden state L, no final norm. 512 positions; sentence encoders often state fewer in
# their tokenizer's config (256 in all-MiniLM), which is then the window.
BERT = TextFamily("bert", lambda model: model.encoder.layer, packs=True)
ELECTRA = TextFamily("electra", lambda model: model.encoder.layer, packs=True)


# RoBERTa (Liu et al. 2019), XLM-RoBERTa and CamemBERT: BERT's blocks; positions start behind the padding index.
class Roberta(Text):
    """Positions up to and including the padding index are never used (514 - 2 = 512)."""

    max_position_embeddings: Positions = 514
    pad_token_id: Index = 1

    @property
    def first(self) -> int:
        return self.pad_token_id + 1


ROBERTA = TextFamily("roberta", lambda model: model.encoder.layer, stated=Roberta, packs=True)
XLM_ROBERTA = TextFamily("xlm-roberta", lambda model: model.encoder.layer, stated=Roberta, packs=True)
CAMEMBERT = TextFamily("camembert", lambda model: model.encoder.layer, stated=Roberta, packs=True)


# DistilBERT (Sanh et al. 2019): half of BERT's blocks, no token types.
class DistilBert(Text):
    """DistilBERT has names of its own for depth and width."""

    n_layers: Depth = 6
    dim: Width = 768

    @property
    def depth(self) -> int:
        return self.n_layers

    @property
    def width(self) -> int:
        return self.dim


DISTILBERT = TextFamily("distilbert", lambda model: model.transformer.layer, stated=DistilBert, packs=True)


# DeBERTa v2 and v3 (He et al. 2021): disentangled attention with relative positions.
#
# The largest v2 models have a convolution beside the first block; transformers counts its output as hidden state 1.
def _instead(model: Any) -> "Mapping[int, nn.Module]":
    return {} if model.encoder.conv is None else {1: model.encoder.conv}


DEBERTA = TextFamily("deberta-v2", lambda model: model.encoder.layer, instead=_instead)


# MPNet (Song et al. 2020), as in the sentence encoder all-mpnet-base-v2: BERT's blocks with relative position buckets.
class MPNet(Text):
    """Positions start behind index 1, whatever the config's padding token (514 - 2 = 512)."""

    max_position_embeddings: Positions = 514

    @property
    def first(self) -> int:
        return 2


MPNET = TextFamily("mpnet", lambda model: model.encoder.layer, stated=MPNet)
