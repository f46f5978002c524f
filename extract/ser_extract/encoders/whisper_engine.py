"""The engine of Whisper's encoder: log-mel of a fixed context, blocks up to the wanted layer, the utterance's own frames."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ser_extract.encoders import batches
from ser_extract.encoders.base import Description, EngineOptions
from ser_extract.encoders.batches import BatchRule
from ser_extract.encoders.loading import Taps, autocast, load_model
from ser_extract.encoders.source import Source
from ser_extract.encoders.speech_engine import WaveformEngine, to_device

ACCELERATOR_BATCH = 16
UNUSED = ("decoder",)


def load(
    source: Source,
    description: Description,
    layers: tuple[int, ...],
    options: EngineOptions,
    extractor: Any,
    step: int,
) -> WaveformEngine:
    """Loads the encoder; a shortened context cuts its table of positions. `step`: samples per frame."""
    encoder = load_model(source, options, UNUSED).get_encoder()
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

    def __call__(self, pieces: "Sequence[np.ndarray[Any, Any]]") -> list[batches.States]:
        mel = np.stack([self._log_mel(piece) for piece in pieces])
        with torch.inference_mode(), autocast(self._options):
            features = to_device(torch.from_numpy(mel), self._options)
            states = self._taps.run(lambda: self._encoder(features))
            host = {layer: state.float().cpu().numpy() for layer, state in states.items()}
        return [
            # a copy: a view of a second's frames would keep the whole 30 s window in memory until its shard is written
            {layer: state[row, : self._frames(len(piece))].copy() for layer, state in host.items()}
            for row, piece in enumerate(pieces)
        ]

    def _log_mel(self, piece: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        made = self._extractor(
            piece, sampling_rate=self._extractor.sampling_rate, max_length=self._samples, return_tensors="np"
        )
        mel: np.ndarray[Any, Any] = np.asarray(made["input_features"][0], np.float32)
        return mel
