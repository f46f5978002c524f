"""The vision transformers with a class token: every frame is a picture of its own and becomes one vector per layer.

The vector is the class token's hidden state (position 0). A clip of n frames at `--fps` gives `(n, features)` with `--fps`
frames a second, so that stage two treats it as any other stream. Frames of one encoder all have one size, so a batch has no
padding and its company changes nothing beyond rounding.

Read from the config alone, without torch; the engine is in `vision_engine`.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

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
from ser_extract.encoders.stated import CONFIG, Image
from ser_extract.errors import EncoderBroken

if TYPE_CHECKING:
    from torch import nn


# From a frame to a vision encoder's input: resize, crop, rescale, normalise, as the folder's `preprocessor_config.json` says.
#
# Equal to transformers' image processors on Pillow, value for value (a test holds the two together). Own code, because which
# of its two backends transformers takes depends on whether torchvision is installed, and the two resize differently: features
# of one cache must not depend on that. What is done is declared in the fingerprint.
BICUBIC, BILINEAR = 3, 2
RESAMPLING = frozenset({0, 1, 2, 3, 4, 5})
REMEDY = "Give a folder as save_pretrained of the model and of its image processor write it."


@dataclass(frozen=True)
class Pixels:
    """What happens to a frame.

    Attributes:
        resize: (height, width) for all frames alike; None with `shortest`, or for none.
        shortest: Length of the shorter side after resizing, proportions kept; None with `resize`, or for none.
        resample: Pillow's number of the filter: 2 bilinear, 3 bicubic.
        crop: (height, width) of the piece taken from the middle; None for none.
        scale: Factor on the values 0 to 255.
        mean: Subtracted, per channel.
        std: Divided by, per channel.
    """

    resize: tuple[int, int] | None
    shortest: int | None
    resample: int
    crop: tuple[int, int] | None
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the result; None where it depends on the frame."""
        return self.crop or self.resize

    def declared(self) -> dict[str, Any]:
        """For the fingerprint."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def prepare(self, frame: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """A frame (height, width, 3) uint8 -> (3, height, width) float32."""
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(frame))
        if self.resize is not None:
            picture = picture.resize((self.resize[1], self.resize[0]), resample=self.resample)
        elif self.shortest is not None:
            width, height = picture.size
            long = int(self.shortest * max(width, height) / min(width, height))
            size = (self.shortest, long) if width <= height else (long, self.shortest)
            picture = picture.resize(size, resample=self.resample)
        values = np.moveaxis(np.asarray(picture), -1, 0)
        if self.crop is not None:
            values = _middle(values, *self.crop)
        scaled = (values.astype(np.float64) * self.scale).astype(np.float32)
        mean, std = (np.array(each, np.float32)[:, None, None] for each in (self.mean, self.std))
        made: np.ndarray[Any, Any] = (scaled - mean) / std
        return made


def _middle(values: "np.ndarray[Any, Any]", height: int, width: int) -> "np.ndarray[Any, Any]":
    """The middle piece of (3, rows, columns); black where there is nothing."""
    rows, columns = values.shape[1:]
    if rows < height or columns < width:
        whole = np.zeros((3, max(rows, height), max(columns, width)), values.dtype)
        top, left = -(-(whole.shape[1] - rows) // 2), -(-(whole.shape[2] - columns) // 2)
        whole[:, top : top + rows, left : left + columns] = values
        # as transformers: the piece is placed by the size before padding
        top, left = (rows - height) // 2 + top, (columns - width) // 2 + left
        return whole[:, max(top, 0) : top + height, max(left, 0) : left + width]
    top, left = (rows - height) // 2, (columns - width) // 2
    return values[:, top : top + height, left : left + width]


def read_pixels(source: Source, defaults: Mapping[str, Any], *, square: bool) -> Pixels:
    """What the encoder's folder says.

    Args:
        source: The folder.
        defaults: Of the family's image processor, for keys that the file leaves out.
        square: Whether a size given as one number means a square (ViT) or the shorter side (CLIP, DINOv2).

    Raises:
        EncoderBroken: No such file, or one that asks for something else.
    """
    stated = source.preprocessor()
    if not stated:
        raise EncoderBroken(
            source.name, "its folder holds no preprocessor_config.json, so its pixels are unknown", REMEDY
        )
    values: dict[str, Any] = {**defaults, **stated}
    try:
        resize = shortest = crop = None
        if values.get("do_resize", True):
            size = values["size"]
            if isinstance(size, int):
                resize, shortest = ((size, size), None) if square else (None, size)
            elif "height" in size and "width" in size:
                resize = (int(size["height"]), int(size["width"]))
            elif set(size) == {"shortest_edge"}:
                shortest = int(size["shortest_edge"])
            else:
                raise ValueError(f"size {size}")
        if values.get("do_center_crop", False):
            crop_size = values["crop_size"]
            crop = (
                (crop_size, crop_size)
                if isinstance(crop_size, int)
                else (int(crop_size["height"]), int(crop_size["width"]))
            )
        scale = float(values.get("rescale_factor", 1 / 255)) if values.get("do_rescale", True) else 1.0
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if values.get("do_normalize", True):
            mean, std = (_three(values[key]) for key in ("image_mean", "image_std"))
        resample = int(values.get("resample", BILINEAR))
        if values.get("do_pad") or resample not in RESAMPLING or not all(std):
            raise ValueError("do_pad, another filter, or a deviation of 0")
    except (KeyError, TypeError, ValueError) as error:
        problem = f"its preprocessor_config.json asks for something that is not known here ({error})"
        raise EncoderBroken(source.name, problem, REMEDY) from error
    return Pixels(resize, shortest, resample, crop, scale, mean, std)


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


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
