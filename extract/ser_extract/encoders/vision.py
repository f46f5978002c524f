"""The vision transformers with a class token: every frame is a picture of its own and becomes one vector per layer.

The vector is the class token's hidden state (position 0). A clip of n frames at `--fps` gives `(n, features)` with `--fps`
frames a second, so that stage two treats it as any other stream. Frames of one encoder all have one size, so a batch has no
padding and its company changes nothing beyond rounding.

Read from the config alone, without torch; the engine is in `vision_engine`.
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
    """A family of vision transformers; one object each below.

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
        from ser_extract.encoders.vision_engine import load

        pixels = read_pixels(source, self._processor, square=self._square)
        return load(source, description, layers, options, pixels.prepare, self._blocks, self._unused)


# ViT (Dosovitskiy et al. 2021): base, large, huge, and faces' and emotions' fine-tuned ones; heads are left out.
#
# Pre-norm; the final norm is behind `hidden_states`, so the last one is without it.
VIT_PROCESSOR: dict[str, Any] = {
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def _blocks(model: Any) -> Any:
    return model.layers if hasattr(model, "layers") else model.encoder.layer


VIT = ImageFamily("vit", _blocks, VIT_PROCESSOR, patch=16, square=True, unused=("pooler", "layernorm"))


# The vision tower of CLIP (Radford et al. 2021), from a whole CLIP folder or from a tower saved alone.
#
# `hidden_states[0]` has been through the norm before the blocks; the norm behind them belongs to the pooled output only.
CLIP_PROCESSOR: dict[str, Any] = {
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}

CLIP_NORM = "post_layernorm"
CLIP = ImageFamily(
    "clip",
    lambda tower: tower.encoder.layers,
    CLIP_PROCESSOR,
    patch=32,
    part="vision_config",
    unused=("text_model", "text_projection", "visual_projection", "logit_scale", f"vision_model.{CLIP_NORM}"),
)
CLIP_TOWER = ImageFamily(
    "clip_vision_model",
    lambda tower: tower.encoder.layers,
    CLIP_PROCESSOR,
    patch=32,
    unused=(CLIP_NORM, f"vision_model.{CLIP_NORM}"),  # transformers before 5.5 keeps the tower's own name in front
)


# DINOv2 (Oquab et al. 2023), with registers or without: small, base, large, giant.
#
# Positions are interpolated to the size that the folder's processor makes (224, while the models were trained at 518). The
# final norm is behind `hidden_states`, so the last one is without it. Registers are tokens like patches, and left out.
DINOV2_UNUSED = ("layernorm", "embeddings.mask_token")
DINOV2 = ImageFamily("dinov2", _blocks, CLIP_PROCESSOR, patch=14, any_size=True, unused=DINOV2_UNUSED)
DINOV2_REGISTERS = ImageFamily(
    "dinov2_with_registers",
    _blocks,
    CLIP_PROCESSOR,
    patch=14,
    any_size=True,
    extra=lambda config: 1 + config.num_register_tokens,
    unused=DINOV2_UNUSED,
)
