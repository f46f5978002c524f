"""The speech encoders: wav2vec 2.0 and its kin (a raw waveform through convolutions and blocks), and Whisper's encoder.

Read from the config alone, without torch; the engines are in `speech_engine`.
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
from ser_extract.encoders.stated import CONFIG, PREPROCESSOR, Waveform, WaveformExtractor, Whisper, WhisperExtractor
from ser_extract.errors import EncoderBroken

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
    """A family of raw-waveform models; one object each below.

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
        from ser_extract.encoders.speech_engine import load

        return load(source, description, layers, options, maskable=self._exact_mask(source.config))


# wav2vec 2.0 (Baevski et al. 2020): base, large, XLS-R, and every checkpoint fine-tuned from them.
#
# Base models normalise over time in the first convolution (masked here); large and XLS-R models normalise before each block
# and have one more norm behind the last, which is not part of the last state here, whatever transformers is installed. Features:
# 768 (base), 1024 (large), 1280 or 1920 (XLS-R); 49.95 frames per second, receptive field 400 samples.
WAV2VEC2 = WaveformFamily("wav2vec2", exact_mask=lambda config: True)


# HuBERT (Hsu et al. 2021): wav2vec 2.0's body, trained on clustered units; base, large, x-large.
#
# A few checkpoints put a batch norm before the positional convolution (`conv_pos_batch_norm`); it makes non-zero values of
# masked padding, so those go in batches of equal length only.
HUBERT = WaveformFamily("hubert", exact_mask=lambda config: not config.get("conv_pos_batch_norm", False))


# WavLM (Chen et al. 2022): wav2vec 2.0's body with gated relative position bias; base, base-plus, large.
#
# The bias is made in the first block and handed on, so an early exit keeps it.
WAVLM = WaveformFamily("wavlm", exact_mask=lambda config: True)


# data2vec-audio (Baevski et al. 2022): layer-normed convolutions and a stack of five positional convolutions.
#
# Between the positional convolutions stands a layer norm, which makes non-zero values of padded frames that the next one
# reads: no attention mask is exact, so utterances go one by one or in batches of equal length.
DATA2VEC = WaveformFamily("data2vec-audio", exact_mask=lambda config: False)


# The encoder of Whisper (Radford et al. 2022), any size; the decoder is dropped after loading.
#
# It always sees a fixed window: 30 s of log-mel, zero-padded behind the utterance, 1,500 positions, 50 frames per second. Kept
# are the utterance's own `ceil(samples / 320)` frames. Longer audio goes in overlapping 30 s windows. The window costs the
# same for 1 s as for 30 s; `--context SECONDS` shortens it for everybody (positions and mel are cut to it): several times
# faster on short utterances, but other features, so it is declared in the fingerprint. The last hidden state has been through
# the final norm, as in transformers; the others have not.
WHISPER_PREPROCESSING = 1
HALVING = 2  # stride of the second convolution: mel frames per encoder frame


def read_whisper(source: Source) -> tuple[Whisper, WhisperExtractor]:
    """Config and extractor; the extractor makes the mel bins that the config wants.

    Raises:
        EncoderBroken: One of the two is wrong, or they do not fit each other.
    """
    config = Whisper.of(source.config, source.name, CONFIG)
    extractor = WhisperExtractor.of(source.preprocessor(), source.name, PREPROCESSOR)
    bins = config.num_mel_bins
    if extractor.feature_size not in (None, bins):
        raise EncoderBroken(
            source.name,
            f"its preprocessor_config.json makes {extractor.feature_size} mel bins (feature_size), "
            f"its config.json wants {bins} (num_mel_bins)",
            "Copy both files from the same repository.",
        )
    return config, extractor.model_copy(update={"feature_size": bins})


class WhisperFamily:
    """Whisper's encoder as a family."""

    modality: Modality = "audio"

    def describe(self, source: Source, options: InputOptions) -> Description:
        config, extractor = read_whisper(source)
        rate, step = extractor.sampling_rate, extractor.hop_length * HALVING
        depth, width, own = config.encoder_layers, config.d_model, config.max_source_positions
        wanted = own if options.context_seconds is None else round(options.context_seconds * rate) // step
        positions = max(min(wanted, own), 1)
        overlap = min(int(options.overlap_seconds * rate) // step, positions // 4) * step
        windowing = Windowing("samples", positions * step, overlap)
        return Description(
            modality="audio",
            family="whisper",
            depth=depth,
            features=width,
            rate=rate,
            frame_rate=rate / step,
            shortest=1,
            frames=lambda samples: -(-samples // step),
            cost=lambda samples: -(-samples // (positions * step)) * depth * block_flops(positions, width) / CORE_FLOPS,
            windowing=windowing,
            final_norms=frozenset({depth}),
            declared={
                "preprocessing": WHISPER_PREPROCESSING,
                "rate": rate,
                "context": {"seconds": positions * step / rate, "own": positions == own},
                "windowing": {"unit": "samples", "length": windowing.length, "overlap": windowing.overlap},
            },
        )

    def load(self, source: Source, description: Description, layers: tuple[int, ...], options: EngineOptions) -> Engine:
        from transformers import WhisperFeatureExtractor

        from ser_extract.encoders.speech_engine import load_whisper

        stated = read_whisper(source)[1]
        extractor = WhisperFeatureExtractor(**stated.model_dump())
        return load_whisper(source, description, layers, options, extractor, stated.hop_length * HALVING)


WHISPER = WhisperFamily()
