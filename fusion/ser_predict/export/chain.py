"""The whole way from a waveform to posteriors as one ONNX graph: a wav2vec 2.0 encoder and the heads on audio behind it.

It repeats the path of ``ser predict``: normalisation, blocks up to the deepest layer, the stored type's rounding, the stride
with its own rounding, heads, temperatures, mean. One recording at a time, so that nothing is padded.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from ser_base.files import replacing
from ser_data.media.audio import AudioError, Limits
from ser_data.media.isolated import IsolatedDecoder
from ser_fusion.frames.features import stride_of
from ser_predict.errors import NotExported
from ser_predict.export.onnx import FACTS, MODEL, Graph, need_onnx, write_graph
from ser_predict.recordings.pieces import Piece

if TYPE_CHECKING:
    from ser_predict.recordings.predictor import Predictor

FAMILY = "wav2vec2"
CHECKED = 50
"""Recordings on which the graph is compared with ``ser predict``."""
TOLERANCE = 1e-3
"""Largest difference of any posterior: float16 features may be rounded the other way by another order of sums."""
SPAN = ("start", "end")
LONGEST = 10.0
"""Seconds of a recording that is compared."""


class Chain(nn.Module):
    """Waveform in, posteriors out.

    Args:
        encoder: ``Wav2Vec2Model`` in evaluation mode.
        layers: Hidden states that the heads read, ascending.
        normalised: Whether the waveform is brought to zero mean and unit variance.
        dtype: Type of the stored features.
        stride: Frames that become one.
        heads: The heads as a module of tensors.
    """

    def __init__(
        self, encoder: Any, layers: tuple[int, ...], *, normalised: bool, dtype: torch.dtype, stride: int, heads: Graph
    ) -> None:
        super().__init__()
        for module in encoder.modules():
            if parametrize.is_parametrized(module):  # the weight norm of the positional convolution, folded
                parametrize.remove_parametrizations(module, "weight")
        del encoder.encoder.layers[max(*layers, 1) :]
        self.encoder, self.heads = encoder, heads
        self.layers, self.normalised, self.dtype, self.stride = layers, normalised, dtype, stride
        self.early = not encoder.config.do_stable_layer_norm  # base models normalise before the blocks

    def forward(self, samples: Tensor) -> Tensor:
        """(1, samples) at the encoder's rate to (1, classes)."""
        if self.normalised:
            centred = samples - samples.mean(1, keepdim=True)
            samples = centred / (samples.var(1, keepdim=True, unbiased=False) + 1e-7).sqrt()
        state, _ = self.encoder.feature_projection(self.encoder.feature_extractor(samples).transpose(1, 2))
        blocks = self.encoder.encoder
        state = state + blocks.pos_conv_embed(state)
        state = blocks.layer_norm(state) if self.early else state
        states = [state]
        for block in blocks.layers:
            made = block(states[-1])
            states.append(made[0] if isinstance(made, tuple) else made)
        frames = [self._stored(states[layer]) for layer in self.layers]
        values = frames[0] if len(frames) == 1 else torch.stack(frames, 2)
        lengths = torch.ones_like(values.reshape(1, values.shape[1], -1)[:, :, 0], dtype=torch.int64).sum(1)
        posteriors: Tensor = self.heads(values, lengths)[0]
        return posteriors

    def _stored(self, state: Tensor) -> Tensor:
        """As the cache would hold it, and as the heads read it: rounded, averaged over the stride, rounded."""
        state = state.to(self.dtype).float()
        if self.stride == 1:
            return state
        counts = self._groups(torch.ones_like(state[:, :, :1]))
        return (self._groups(state) / counts).to(self.dtype).float()

    def _groups(self, frames: Tensor) -> Tensor:
        """Sums of so many frames as the stride; the last group may have fewer."""
        padded = F.pad(frames, (0, 0, 0, self.stride - 1))
        groups = padded.shape[1] // self.stride
        return padded[:, : groups * self.stride].reshape(1, groups, self.stride, frames.shape[2]).sum(2)


def export_chain(predictor: "Predictor", folder: Path) -> dict[str, Any]:
    """Writes ``model.onnx`` and ``model.json`` of a predictor's audio encoder and main heads.

    Args:
        predictor: With its encoders; its heads read audio only.
        folder: Made if it is not there.

    Returns:
        What ``model.json`` holds; its ``checked`` says on what graph and ``ser predict`` were compared.

    Raises:
        PackageMissing: The extra ``onnx`` is not installed.
        NotExported: The heads read more than audio, the encoder is of another family, or the two differ.
    """
    need_onnx()
    module, description = _chain(predictor)
    step = round(predictor.rate / (description.frame_rate or 50.0))
    shortest = description.shortest + module.stride * step  # at least two frames behind the stride
    longest = min(description.windowing.length, round(LONGEST * predictor.rate))
    clips, origin = _clips(predictor, shortest, longest)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / MODEL) as scratch:
        example = torch.from_numpy(clips[0][None])
        free = torch.export.Dim("samples", min=shortest, max=description.windowing.length)
        write_graph(module, [example], {"samples": {1: free}}, (["samples"], ["posteriors"]), scratch)
        difference = _compare(predictor, clips, scratch)
        if not difference <= TOLERANCE:
            raise NotExported(
                f"the graph and ser predict are {difference:.2g} apart on {origin}; at most {TOLERANCE:g} is allowed",
                "Export the heads alone: leave --waveform out",
            )
    facts = {
        "classes": list(predictor.classes),
        "row": predictor.main.slug,
        "inputs": {"samples": f"float32 (1, samples) at {predictor.rate} Hz, one recording, -1 to 1"},
        "outputs": {"posteriors": "float32 (1, classes): calibrated, averaged over the heads"},
        "shortest": shortest,
        "longest": description.windowing.length,
        "features": {"audio": [spec.as_dict() for spec in predictor.specs["audio"]]},
        "heads": [{"fold": m.fold, "seed": m.seed, "temperature": m.temperature} for m in predictor.main.members],
        "corpus": predictor.source.facts["corpus"],
        "protocol": predictor.source.facts["protocol"],
        "checked": {"recordings": len(clips), "of": origin, "largest_difference": difference},
    }
    with replacing(folder / FACTS) as scratch:
        scratch.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return facts


def _chain(predictor: "Predictor") -> tuple[Chain, Any]:
    """The module, and the description of its encoder."""
    from ser_extract.encoders.base import EngineOptions
    from ser_extract.encoders.loading import load_model
    from ser_extract.encoders.speech_engine import UNUSED

    main = predictor.main
    if main.streams != ("audio",) or main.stacked:
        problem = f"the row '{main.slug}' reads {' and '.join(main.streams)}{' and is stacked' if main.stacked else ''}"
        raise NotExported(
            f"{problem}, and the graph of a waveform holds heads on audio alone", "Choose such a row: --row audio"
        )
    encoder = predictor.encoders["audio"].encoder
    description, specs = encoder.description, predictor.specs["audio"]
    if description.family != FAMILY:
        raise NotExported(
            f"the encoder is {description.family}, and only {FAMILY} can be put into the graph",
            "Export the heads alone: leave --waveform out",
        )
    model = load_model(encoder.source, EngineOptions(device="cpu"), UNUSED)
    model.set_attn_implementation("eager")  # what the exporter follows without conditions on lengths
    stride = stride_of(specs[0], int(predictor.source.facts.get("stride") or 1))
    layers, dtype = tuple(int(spec.layer or 0) for spec in specs), getattr(torch, specs[0].dtype)
    normalised, heads = bool(description.declared["normalised"]), Graph(main, [])
    return Chain(model, layers, normalised=normalised, dtype=dtype, stride=stride, heads=heads).eval(), description


def _clips(predictor: "Predictor", shortest: int, longest: int) -> tuple[list[NDArray[np.float32]], str]:
    """Recordings of the run's corpus, spread over it; noise where they are gone."""
    from ser_predict.models.runs import RunHeads

    source, clips = predictor.source, list[NDArray[np.float32]]()
    if isinstance(source, RunHeads) and "path" in source.run.utterances:
        table = source.run.utterances
        rows = np.linspace(0, len(table) - 1, min(CHECKED, len(table))).round().astype(int)
        with IsolatedDecoder(limits=Limits(channel=predictor.channel)) as decoder:
            for row in table.iloc[rows].to_dict("records"):
                span = [
                    float(at) if isinstance(at := row.get(name), float) and np.isfinite(at) else None for name in SPAN
                ]
                try:
                    samples = decoder.load(str(row["path"]), predictor.rate, *span)[:longest]
                except AudioError:
                    continue
                if len(samples) >= shortest:
                    clips.append(samples)
    if clips:
        return clips, f"{len(clips)} recordings of the run's corpus"
    draw = np.random.default_rng(0)
    lengths = draw.integers(shortest, longest, CHECKED)
    drawn = [draw.normal(0, 0.1, length).astype(np.float32) for length in lengths]
    return drawn, f"{CHECKED} pieces of noise (the recordings of the run are not there)"


def _compare(predictor: "Predictor", clips: list[NDArray[np.float32]], path: Path) -> float:
    """The largest difference of posteriors."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = predictor.predict_pieces([Piece("", 0.0, len(clip) / predictor.rate, clip) for clip in clips])
    difference = 0.0
    for clip, line in zip(clips, wanted, strict=True):
        (posteriors,) = session.run(["posteriors"], {"samples": clip[None]})
        apart = np.abs(posteriors[0] - [line.posteriors[name] for name in predictor.classes]).max()
        difference = max(difference, float(apart)) if np.isfinite(apart) else float("inf")
    return difference
