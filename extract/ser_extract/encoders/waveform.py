"""What wav2vec 2.0, HuBERT, WavLM and data2vec-audio share in their configs: a raw waveform through convolutions and blocks.

Read from the config alone, without torch; the engine is in `waveform_engine`.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

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
from ser_extract.encoders.stated import CONFIG, PREPROCESSOR, Waveform, WaveformExtractor

PREPROCESSING = 1
"""Version of what happens between file and model; raised when features of the same file would change."""


def frame_count(kernels: Sequence[int], strides: Sequence[int]) -> Callable[[int], int]:
    """Samples -> frames of a stack of unpadded convolutions; 0 below the receptive field."""

    def frames(samples: int) -> int:
        for kernel, stride in zip(kernels, strides, strict=True):
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
        return samples

    return frames


def describe(source: Source, family: str, options: InputOptions) -> Description:
    """The description of any raw-waveform config; defaults are those of transformers' config classes."""
    config = Waveform.of(source.config, source.name, CONFIG)
    kernels, strides = config.conv_kernel, config.conv_stride
    extractor = WaveformExtractor.of(source.preprocessor(), source.name, PREPROCESSOR)
    rate = extractor.sampling_rate
    step = prod(strides)
    field = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        field = (field - 1) * stride + kernel
    overlap = max(int(options.overlap_seconds * rate) // step, -(-field // step) + 1) * step
    windowing = Windowing("samples", max(int(options.max_seconds * rate) // step * step, 2 * overlap), overlap)
    depth, width = config.num_hidden_layers, config.hidden_size
    frames = frame_count(kernels, strides)
    return Description(
        modality="audio",
        family=family,
        depth=depth,
        features=width,
        rate=rate,
        frame_rate=rate / step,
        shortest=field,
        frames=frames,
        cost=lambda samples: (
            samples / rate * 4.9e9 / CORE_FLOPS + depth * block_flops(frames(samples), width) / CORE_FLOPS
        ),
        windowing=windowing,
        declared={
            "preprocessing": PREPROCESSING,
            "rate": rate,
            "normalised": extractor.do_normalize,
            "windowing": {"unit": "samples", "length": windowing.length, "overlap": windowing.overlap},
        },
    )


class WaveformFamily:
    """A family of raw-waveform models; the small family files make one each.

    Args:
        name: The config's `model_type`.
        exact_mask: Config -> whether a mask undoes padding exactly.
    """

    modality: Modality = "audio"

    def __init__(self, name: str, exact_mask: Callable[[Mapping[str, Any]], bool]) -> None:
        self.name, self._exact_mask = name, exact_mask

    def describe(self, source: Source, options: InputOptions) -> Description:
        return describe(source, self.name, options)

    def load(self, source: Source, description: Description, layers: tuple[int, ...], options: EngineOptions) -> Engine:
        from ser_extract.encoders.waveform_engine import load

        return load(source, description, layers, options, maskable=self._exact_mask(source.config))
