"""What vision transformers with a class token share: every frame is a picture of its own and becomes one vector per layer.

The vector is the class token's hidden state (position 0). A clip of n frames at `--fps` gives `(n, features)` with `--fps`
frames a second, so that stage two treats it as any other stream. Frames of one encoder all have one size, so a batch has no
padding and its company changes nothing beyond rounding.

Read from the config alone, without torch; the engine is in `image_engine`.
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
from ser_extract.encoders.pixels import read_pixels
from ser_extract.encoders.source import Source
from ser_extract.encoders.stated import CONFIG, Image
from ser_extract.errors import EncoderBroken

if TYPE_CHECKING:
    from torch import nn

PREPROCESSING = 1
LONGEST = 1 << 30  # frames; never cut into windows, since no frame sees another


class ImageFamily:
    """A family of vision transformers; the small family files make one each.

    Args:
        name: The config's `model_type`.
        blocks: Loaded vision tower -> its stack of blocks.
        processor: Defaults of the family's image processor.
        patch: Default of the config's `patch_size`.
        square: Whether a processor's size given as one number means a square.
        any_size: Whether positions are interpolated to the frame's size; else it must be the config's.
        part: Key of the vision tower's config inside `config.json`; empty where it is the config itself.
        extra: Tokens beside the patches: the class token, and registers.
        unused: Modules that no hidden state goes through, as `load_model` takes them.
    """

    modality: Modality = "video"

    def __init__(
        self,
        name: str,
        blocks: "Callable[[Any], nn.ModuleList]",
        processor: Mapping[str, Any],
        *,
        patch: int,
        square: bool = False,
        any_size: bool = False,
        part: str = "",
        extra: Callable[[Image], int] = lambda config: 1,
        unused: tuple[str, ...] = (),
    ) -> None:
        self.name, self._blocks, self._processor, self._patch = name, blocks, processor, patch
        self._square, self._any_size, self._part, self._extra, self._unused = square, any_size, part, extra, unused

    def describe(self, source: Source, options: InputOptions) -> Description:
        config = Image.of(source.config.get(self._part) or {} if self._part else source.config, source.name, CONFIG)
        pixels = read_pixels(source, self._processor, square=self._square)
        patch, own = config.patch_size or self._patch, config.image_size
        size = pixels.size
        if size is None:
            raise EncoderBroken(
                source.name,
                "its preprocessor_config.json keeps the proportions and crops nothing, so sizes differ",
                "Set do_center_crop and crop_size there.",
            )
        if not self._any_size and size != (own, own):
            raise EncoderBroken(
                source.name,
                f"its preprocessor_config.json makes frames of {size[0]} x {size[1]}, its config.json wants {own} x {own}",
                "Copy both files from the same repository.",
            )
        depth, width = config.num_hidden_layers, config.hidden_size
        tokens = (size[0] // patch) * (size[1] // patch) + self._extra(config)
        return Description(
            modality="video",
            family=self.name,
            depth=depth,
            features=width,
            rate=None,
            frame_rate=options.fps,
            shortest=1,
            frames=lambda frames: frames,
            cost=lambda frames: frames * (depth + 0.5) * block_flops(tokens, width) / CORE_FLOPS,
            windowing=Windowing("frames", LONGEST, 0),
            declared={
                "preprocessing": PREPROCESSING,
                "fps": options.fps,
                "frames": "shown in the middle of each slot of 1 / fps s",
                "vector": "class token",
                "pixels": pixels.declared(),
            },
        )

    def load(self, source: Source, description: Description, layers: tuple[int, ...], options: EngineOptions) -> Engine:
        from ser_extract.encoders.image_engine import load

        pixels = read_pixels(source, self._processor, square=self._square)
        return load(source, description, layers, options, pixels, self._blocks, self._unused)
