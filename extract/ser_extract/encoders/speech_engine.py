"""The engines of the speech encoders: raw waveforms, exact whatever the batch; and log-mel of a fixed context (Whisper).

Every waveform is normalised on its own before anything is batched (transformers' extractor pads first when the config has
no attention mask: relative error 0.75 of the waveform itself). On a CPU utterances go one by one, since batching gains
nothing there and padding only costs (docs/background/performance.md); on an accelerator in padded batches with the length-masked
group norm, or in batches of equal length where no mask is exact. All of it equals batch 1 within relative L2 1e-5.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ser_extract.encoders import batches
from ser_extract.encoders.base import Description, Encoded, EngineOptions, Refused
from ser_extract.encoders.batches import BatchRule, cut, join_layers
from ser_extract.encoders.loading import Taps, autocast, load_model, read_weights, to_device, to_host
from ser_extract.encoders.packed import PackedForward
from ser_extract.encoders.source import Source
from ser_extract.encoders.stated import CONFIG, Waveform


# A group norm over time that does not see padding.
#
# wav2vec 2.0 base and its kin normalise the first convolution's output over the whole time axis, one group per channel, so
# zero padding changes the statistics and with them every frame: relative L2 0.2 to 0.4, with or without an attention mask
# (transformers #10117, #21534). With statistics over the valid frames only, a padded and masked batch equals batch 1 at
# 4.7e-7 in relative L2: no valid frame of any later convolution reads a padded one.
class LengthGroupNorm(nn.Module):
    """Wraps a group norm; `frames` holds the valid frames of each row while a padded batch goes through, else None."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm
        self.frames: list[int] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalises `(batch, channels, frames)`; padded frames come out as zeros."""
        if self.frames is None:
            return self.norm(x)
        norm, out = self.norm, torch.zeros_like(x)
        for row, frames in enumerate(self.frames):
            out[row, :, :frames] = F.group_norm(
                x[row : row + 1, :, :frames], norm.num_groups, norm.weight, norm.bias, norm.eps
            )[0]
        return out


ACCELERATOR_SECONDS = 160
UNUSED = ("adapter", "masked_spec_embed")
"""The convolutions behind the blocks that some checkpoints add, and the vector that training puts on masked frames."""


class WaveformEngine:
    """Windows, batches and joins for any audio encoder whose `forward` takes a list of pieces.

    Args:
        description: Of the encoder; gives windowing, stride and the shortest input.
        forward: Pieces `(samples,)` -> per piece layer -> `(frames, features)` float32 on the CPU.
        rule: How pieces share a forward pass.
        step: Samples per frame.
        normalize: Zero mean and unit variance over the whole utterance, before windows are cut.
        policy: For the environment record.
    """

    def __init__(
        self,
        description: Description,
        forward: batches.Forward,
        rule: BatchRule,
        step: int,
        normalize: bool,
        policy: Mapping[str, Any],
    ) -> None:
        self._description, self._forward, self._rule = description, forward, rule
        self._step, self._normalize = step, normalize
        self.policy = {"batch": rule.name, **policy}

    def encode(self, inputs: "Sequence[np.ndarray[Any, Any]]") -> list[Encoded | Refused]:
        """Encodes waveforms `(samples,)` float32 at the description's rate."""
        pieces: list[np.ndarray[Any, Any]] = []
        owners: list[range] = []
        windowing = self._description.windowing
        for waveform in inputs:
            first = len(pieces)
            if len(waveform) >= self._description.shortest:
                whole = normalise(waveform) if self._normalize else waveform
                windows = cut(len(whole), windowing.length, windowing.overlap, self._step)
                pieces += [whole[start:stop] for start, stop in windows]
            owners.append(range(first, len(pieces)))
        results = batches.run(pieces, self._forward, self._rule)
        return [self._join(inputs[k], [results[i] for i in owner]) for k, owner in enumerate(owners)]

    def _join(self, waveform: "np.ndarray[Any, Any]", states: list[batches.States | None]) -> Encoded | Refused:
        rate = self._description.rate or 16_000
        if not states:
            shortest = self._description.shortest
            return Refused(
                "too_short",
                f"{len(waveform)} samples ({len(waveform) / rate:.4f} s); a {self._description.family} frame needs {shortest}",
            )
        whole = [state for state in states if state is not None]
        if len(whole) < len(states):
            return Refused(
                "out_of_memory", f"{len(waveform) / rate:.1f} s do not fit on the device; lower --max-seconds"
            )
        windowing = self._description.windowing
        windows = cut(len(waveform), windowing.length, windowing.overlap, self._step)
        return Encoded(join_layers(whole, [start // self._step for start, _ in windows]))


def normalise(waveform: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Zero mean and unit variance, with the same constant as `Wav2Vec2FeatureExtractor`."""
    centred: np.ndarray[Any, Any] = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
    return centred


def load(
    source: Source, description: Description, layers: tuple[int, ...], options: EngineOptions, *, maskable: bool
) -> WaveformEngine:
    """Loads a raw-waveform model.

    Args:
        source: Its files.
        description: From `describe`.
        layers: Wanted hidden states.
        options: Device and batching.
        maskable: Whether an attention mask undoes padding exactly (with the length-masked group norm).
    """
    step = prod(Waveform.of(source.config, source.name, CONFIG).conv_stride)
    normalize = bool(description.declared["normalised"])
    packed = _packed(source, layers, options)
    if packed is not None:
        rule = BatchRule(budget=packed.budget, most=32)
        policy = {"engine": "packed", "batch": "packed", "device": "cpu", "compute": options.compute}
        return WaveformEngine(description, packed, rule, step, normalize, policy)
    model = load_model(source, options, UNUSED)
    rate = description.rate or 16_000
    budget = (
        options.batch if options.batch is not None else 0 if options.device == "cpu" else ACCELERATOR_SECONDS * rate
    )
    rule = BatchRule(budget=budget, equal=not maskable)
    forward = StockForward(model, Taps(model.encoder.layers, layers), description, options)
    policy = {"engine": "stock", "device": options.device, "compute": options.compute}
    return WaveformEngine(description, forward, rule, step, normalize, policy)


def _packed(source: Source, layers: tuple[int, ...], options: EngineOptions) -> PackedForward | None:
    """The packed engine where options, config and weights allow it."""
    if not options.packs:
        return None
    with suppress(
        Exception
    ):  # whatever foreign files make their reader raise: the stock engine's loader says what is wrong
        return PackedForward.of(source.config, read_weights(source), layers, getattr(torch, options.compute))
    return None


class StockForward:
    """The stock model; a batch of unequal lengths goes padded, masked, and through the length-masked group norm."""

    def __init__(self, model: Any, taps: Taps, description: Description, options: EngineOptions) -> None:
        self._model, self._taps, self._frames, self._options = model, taps, description.frames, options
        self._norm: LengthGroupNorm | None = None
        first = model.feature_extractor.conv_layers[0]
        if isinstance(getattr(first, "layer_norm", None), torch.nn.GroupNorm):
            self._norm = first.layer_norm = LengthGroupNorm(first.layer_norm)
        self._kernel, self._stride = int(first.conv.kernel_size[0]), int(first.conv.stride[0])

    def __call__(self, pieces: "Sequence[np.ndarray[Any, Any]]") -> batches.Later:
        lengths = [len(piece) for piece in pieces]
        padded = np.zeros((len(pieces), max(lengths)), np.float32)
        for row, piece in enumerate(pieces):
            padded[row, : len(piece)] = piece
        mask = None
        if len(set(lengths)) > 1:
            mask = torch.zeros(padded.shape, dtype=torch.long)
            for row, length in enumerate(lengths):
                mask[row, :length] = 1
            if self._norm is not None:
                self._norm.frames = [(length - self._kernel) // self._stride + 1 for length in lengths]
        try:
            with torch.inference_mode(), autocast(self._options):
                values = to_device(torch.from_numpy(padded), self._options.device)
                where = None if mask is None else to_device(mask, self._options.device)
                states = self._taps.run(lambda: self._model(values, attention_mask=where))
                host = to_host(states)
        finally:
            if self._norm is not None:
                self._norm.frames = None

        def taken() -> list[batches.States]:
            whole = host()
            return [
                {layer: state[row, : self._frames(length)] for layer, state in whole.items()}
                for row, length in enumerate(lengths)
            ]

        return taken


# The engine of Whisper's encoder: log-mel of a fixed context, blocks up to the wanted layer, the utterance's own frames.
ACCELERATOR_BATCH = 16
WHISPER_UNUSED = ("decoder",)


def load_whisper(
    source: Source,
    description: Description,
    layers: tuple[int, ...],
    options: EngineOptions,
    extractor: Any,
    step: int,
) -> WaveformEngine:
    """Loads the encoder; a shortened context cuts its table of positions. `step`: samples per frame."""
    encoder = load_model(source, options, WHISPER_UNUSED).get_encoder()
    positions = description.windowing.length // step
    if positions != encoder.config.max_source_positions:
        encoder.config.max_source_positions = positions
        encoder.embed_positions = nn.Embedding.from_pretrained(encoder.embed_positions.weight[:positions].clone())
    taps = Taps(encoder.layers, layers, {description.depth: encoder.layer_norm})
    most = ACCELERATOR_BATCH if options.device != "cpu" else 1
    if options.batch is not None:
        most = max(options.batch // description.windowing.length, 1)
    rule = BatchRule(budget=0 if most == 1 else most * description.windowing.length, most=most)
    forward = WhisperForward(encoder, extractor, taps, positions * step, description, options)
    policy = {"engine": "stock", "device": options.device, "compute": options.compute}
    return WaveformEngine(description, forward, rule, step, False, policy)


class WhisperForward:
    """Pieces -> log-mel of the fixed context -> hidden states, cut to the piece's own frames."""

    def __init__(
        self, encoder: Any, extractor: Any, taps: Taps, samples: int, description: Description, options: EngineOptions
    ) -> None:
        self._encoder, self._extractor, self._taps = encoder, extractor, taps
        self._samples, self._frames, self._options = samples, description.frames, options

    def __call__(self, pieces: "Sequence[np.ndarray[Any, Any]]") -> batches.Later:
        mel = np.stack([self._log_mel(piece) for piece in pieces])
        with torch.inference_mode(), autocast(self._options):
            features = to_device(torch.from_numpy(mel), self._options.device)
            states = self._taps.run(lambda: self._encoder(features))
            host = to_host(states)

        def taken() -> list[batches.States]:
            whole = host()
            return [
                # a copy: a view of a second's frames would keep the whole 30 s window in memory until its shard is written
                {layer: state[row, : self._frames(len(piece))].copy() for layer, state in whole.items()}
                for row, piece in enumerate(pieces)
            ]

        return taken

    def _log_mel(self, piece: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        made = self._extractor(
            piece, sampling_rate=self._extractor.sampling_rate, max_length=self._samples, return_tensors="np"
        )
        mel: np.ndarray[Any, Any] = np.asarray(made["input_features"][0], np.float32)
        return mel
