"""From a frame to a vision encoder's input: resize, crop, rescale, normalise, as the folder's `preprocessor_config.json` says.

Equal to transformers' image processors on Pillow, value for value (a test holds the two together). Own code, because which
of its two backends transformers takes depends on whether torchvision is installed, and the two resize differently: features
of one cache must not depend on that. What is done is declared in the fingerprint.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ser_extract.encoders.source import Source
from ser_extract.errors import EncoderBroken

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
        raise EncoderBroken(source.name, "there is no preprocessor_config.json, so its pixels are unknown", REMEDY)
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
            given = values["crop_size"]
            crop = (given, given) if isinstance(given, int) else (int(given["height"]), int(given["width"]))
        scale = float(values.get("rescale_factor", 1 / 255)) if values.get("do_rescale", True) else 1.0
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if values.get("do_normalize", True):
            mean, std = (_three(values[key]) for key in ("image_mean", "image_std"))
        resample = int(values.get("resample", BILINEAR))
        if values.get("do_pad") or resample not in RESAMPLING or not all(std):
            raise ValueError("do_pad, another filter, or a deviation of 0")
    except (KeyError, TypeError, ValueError) as error:
        told = f"its preprocessor_config.json asks for something that is not known here ({error})"
        raise EncoderBroken(source.name, told, REMEDY) from error
    return Pixels(resize, shortest, resample, crop, scale, mean, std)


def _three(values: Any) -> tuple[float, float, float]:
    one, two, three = (float(value) for value in values)
    return one, two, three
