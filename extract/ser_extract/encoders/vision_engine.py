"""The engine of vision encoders: frames of several clips in one batch, the class token of every wanted layer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ser_extract.encoders import batches
from ser_extract.encoders.base import Description, Encoded, EngineOptions, Refused
from ser_extract.encoders.batches import BatchRule
from ser_extract.encoders.loading import Taps, autocast, load_model, to_device, to_host
from ser_extract.encoders.source import Source

Prepare = Callable[["np.ndarray[Any, Any]"], "np.ndarray[Any, Any]"]
"""A frame (height, width, 3) uint8 -> what the model takes, (3, height, width) float32."""
CPU_FRAMES, ACCELERATOR_FRAMES = 8, 64
CHANNELS = 3  # the length of a prepared frame (3, height, width), by which `batches` counts


def load(
    source: Source,
    description: Description,
    layers: tuple[int, ...],
    options: EngineOptions,
    prepare: Prepare,
    blocks: Callable[[Any], nn.ModuleList],
    unused: tuple[str, ...],
) -> "ImageEngine":
    """Loads a vision tower; of CLIP, its text tower is dropped."""
    model = load_model(source, options, unused)
    tower = getattr(model, "vision_model", model)
    most = CPU_FRAMES if options.device == "cpu" else ACCELERATOR_FRAMES
    if options.batch is not None:
        most = options.batch
    rule = BatchRule(budget=0 if most <= 1 else most * CHANNELS, most=max(most, 1), equal=True)
    return ImageEngine(tower, Taps(blocks(tower), layers), description, layers, prepare, rule, options)


class ImageEngine:
    """Clips (frames, height, width, 3) uint8 -> class tokens (frames, features) per layer."""

    def __init__(
        self,
        tower: nn.Module,
        taps: Taps,
        description: Description,
        layers: tuple[int, ...],
        prepare: Prepare,
        rule: BatchRule,
        options: EngineOptions,
    ) -> None:
        self._tower, self._taps, self._description, self._layers = tower, taps, description, layers
        self._prepare, self._rule, self._options = prepare, rule, options
        self.policy: Mapping[str, Any] = {
            "batch": rule.name,
            "engine": "stock",
            "device": options.device,
            "compute": options.compute,
        }

    def encode(self, inputs: "Sequence[np.ndarray[Any, Any]]") -> list[Encoded | Refused]:
        """Encodes clips (frames, height, width, 3) uint8, RGB; a clip without frames gives rows without frames."""
        frames = [self._prepare(frame) for clip in inputs for frame in clip]
        states = batches.run(frames, self._forward, self._rule)
        encoded: list[Encoded | Refused] = []
        place = 0
        for clip in inputs:
            own = states[place : place + len(clip)]
            place += len(clip)
            encoded.append(self._join(own))
        return encoded

    def _join(self, own: Sequence[batches.States | None]) -> Encoded | Refused:
        whole = [state for state in own if state is not None]
        if len(whole) < len(own):
            return Refused("out_of_memory", "one frame alone does not fit on the device")
        empty = np.zeros((0, self._description.features), np.float32)
        return Encoded(
            {layer: np.stack([state[layer] for state in whole]) if whole else empty for layer in self._layers}
        )

    def _forward(self, frames: "Sequence[np.ndarray[Any, Any]]") -> batches.Later:
        with torch.inference_mode(), autocast(self._options):
            pixels = to_device(torch.from_numpy(np.stack(frames)), self._options.device)
            states = self._taps.run(lambda: self._tower(pixel_values=pixels))
            host = to_host({layer: state[:, 0] for layer, state in states.items()})

        def taken() -> list[batches.States]:
            whole = host()
            return [{layer: state[row] for layer, state in whole.items()} for row in range(len(frames))]

        return taken
