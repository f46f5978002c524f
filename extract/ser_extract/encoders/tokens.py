"""What all text encoders share in their configs; read without torch, the engine is in `tokens_engine`."""

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
from ser_extract.encoders.source import Source
from ser_extract.encoders.stated import CONFIG, LEAST_POSITIONS, TOKENIZER, Text, Tokenizer
from ser_extract.encoders.weight_files import read_json

if TYPE_CHECKING:
    from torch import nn

PREPROCESSING = 1
OVERLAP = 64
CHARACTERS_PER_TOKEN = 4


class TextFamily:
    """A family of text encoders; the small family files make one each.

    Args:
        name: The config's `model_type`.
        blocks: Loaded base model -> its stack of blocks.
        stated: What its config.json states: depth, width, positions.
        instead: Model -> layer -> module whose output is that hidden state where it is not the block's own.
        packs: Whether the model takes positions and its attention can be replaced (`packed_text`); else it runs in
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
        return Description(
            modality="text",
            family=self.name,
            depth=depth,
            features=width,
            rate=None,
            frame_rate=None,
            shortest=1,
            frames=tokens,
            cost=lambda characters: depth * block_flops(tokens(characters), width) / CORE_FLOPS,
            windowing=windowing,
            declared={
                "preprocessing": PREPROCESSING,
                "windowing": {"unit": "tokens", "length": windowing.length, "overlap": windowing.overlap},
            },
        )

    def load(self, source: Source, description: Description, layers: tuple[int, ...], options: EngineOptions) -> Engine:
        from ser_extract.encoders.tokens_engine import load

        first = self._stated.of(source.config, source.name, CONFIG).first if self._packs else None
        return load(source, description, layers, options, self._blocks, self._instead, first)


def tokens(characters: int) -> int:
    """A rough number of tokens of a text, special ones included."""
    return 2 + -(-characters // CHARACTERS_PER_TOKEN)
