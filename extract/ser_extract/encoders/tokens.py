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
from ser_extract.encoders.source import Source, read_json

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
        positions: Config -> most tokens of one piece, special tokens included.
        depth: Key of the number of blocks in the config, and its default.
        features: Key of the width, and its default.
        instead: Model -> layer -> module whose output is that hidden state where it is not the block's own.
        packs: Config -> position of a text's first token, if the model takes positions and its attention can be replaced
            (`packed_text`); None: it runs in padded batches.
    """

    modality: Modality = "text"

    def __init__(
        self,
        name: str,
        blocks: "Callable[[Any], nn.ModuleList]",
        *,
        positions: Callable[[Mapping[str, Any]], int] = lambda config: int(config.get("max_position_embeddings", 512)),
        depth: tuple[str, int] = ("num_hidden_layers", 12),
        features: tuple[str, int] = ("hidden_size", 768),
        instead: "Callable[[Any], Mapping[int, nn.Module]]" = lambda model: {},
        packs: Callable[[Mapping[str, Any]], int] | None = None,
    ) -> None:
        self.name, self._blocks, self._positions = name, blocks, positions
        self._depth, self._features, self._instead, self._packs = depth, features, instead, packs

    def describe(self, source: Source, options: InputOptions) -> Description:
        positions = self._positions(source.config)
        tokenizer = source.folder / "tokenizer_config.json"
        if tokenizer.is_file():
            stated = read_json(tokenizer, source.name).get("model_max_length")
            if isinstance(stated, (int, float)) and 8 <= stated < positions:
                positions = int(stated)
        windowing = Windowing("tokens", positions, min(OVERLAP, positions // 4))
        depth, width = int(source.config.get(*self._depth)), int(source.config.get(*self._features))
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

        first = None if self._packs is None else self._packs(source.config)
        return load(source, description, layers, options, self._blocks, self._instead, first)


def tokens(characters: int) -> int:
    """A rough number of tokens of a text, special ones included."""
    return 2 + -(-characters // CHARACTERS_PER_TOKEN)
