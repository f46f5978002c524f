"""Heads as one ONNX graph, written only if onnxruntime gives what torch gives."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ser_base.errors import PackageMissing
from ser_base.files import replacing
from ser_cache import CacheError, EntrySpec, open_cache
from ser_fusion.evaluation.temperatures import FLOOR
from ser_fusion.frames.batches import Padded
from ser_fusion.frames.features import StreamFrames, read_stream
from ser_predict.errors import NotExported
from ser_predict.models.ensemble import Ensemble

if TYPE_CHECKING:
    from ser_predict.recordings.predictor import Predictor


# Frames to compare two engines on: the run's own, from its cache, or drawn ones like them.
@dataclass(frozen=True, slots=True)
class Samples:
    """Utterances as heads read them.

    Attributes:
        streams: Frames by stream.
        count: Number of utterances.
        origin: Where they come from, for people.
    """

    streams: Mapping[str, StreamFrames]
    count: int
    origin: str


def read_samples(predictor: "Predictor", count: int) -> Samples | None:
    """Utterances of the run, spread over it, from its cache; None where the cache is gone or holds other features now."""
    from ser_predict.models.runs import RunHeads

    source = predictor.source
    if not isinstance(source, RunHeads):
        return None
    path = Path(str(source.facts.get("cache", {}).get("path", "")))
    utterances = list(source.run.utterances.index)
    ids = (
        [utterances[int(place)] for place in np.linspace(0, len(utterances) - 1, min(count, len(utterances)))]
        if utterances
        else []
    )
    stride = int(source.facts.get("stride") or 1)
    streams = {}
    try:
        cache = open_cache(path)
        for stream in predictor.main.streams:
            specs = predictor.specs[stream]
            entries = [cache.select(spec.modality, spec.encoder, spec.layer, spec.dtype) for spec in specs]
            if [entry.spec for entry in entries] != list(specs):
                return None
            first = stream == "text" and predictor.main.text_first_only
            streams[stream] = read_stream(entries, ids, stride=stride, first_only=first)
    except (CacheError, OSError, KeyError):
        return None
    return Samples(streams, len(ids), f"{len(ids)} utterances of the run's cache") if ids else None


def draw_samples(predictor: "Predictor", count: int) -> Samples:
    """Normal frames with the mean and spread of the training's, of 1 to 120 frames; the first and last token of a text are
    special."""
    draw = np.random.default_rng(0)
    streams = {s: _drawn(predictor, s, predictor.specs[s], count, draw) for s in predictor.main.streams}
    return Samples(streams, count, f"{count} utterances drawn like the training's (its cache is not there)")


def _drawn(
    predictor: "Predictor", stream: str, specs: tuple[EntrySpec, ...], count: int, draw: np.random.Generator
) -> StreamFrames:
    first = stream == "text" and predictor.main.text_first_only
    lengths = np.ones(count, np.int64) if first else draw.integers(1, 121, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    model = predictor.main.members[0].model
    assert model is not None  # probes are not exported as graphs
    state = model.inputs[stream].state_dict()
    mean, scale = state["mean"].numpy(), state["scale"].numpy()
    spread = np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0)
    noise = draw.standard_normal((len(specs), int(offsets[-1]), specs[0].features))
    layers = tuple((mean[n] + spread[n] * noise[n]).astype(spec.dtype) for n, spec in enumerate(specs))
    content = np.ones(int(offsets[-1]), np.bool_)
    if specs[0].frame_rate is None and not first:
        for start, stop in pairwise(offsets.tolist()):
            if stop - start > 2:
                content[[start, stop - 1]] = False
    moments = np.zeros((len(specs), count, specs[0].features), np.float32)
    return StreamFrames(layers, offsets, content, moments, moments, specs[0].frame_rate)


# An ensemble as one module of tensors in, tensors out: what an exporter can follow with any number of utterances and frames.
LOWEST = log(FLOOR)


class Traced(Padded):
    """``Padded`` whose lengths are a tensor, so that no Python number of them ends up in the graph.

    Args:
        values: (batch, frames, width).
        mask: (batch, frames), True where there is a frame.
        content: (batch, frames), True where poolings look.
    """

    def __init__(self, values: Tensor, mask: Tensor, content: Tensor) -> None:
        self.values, self.mask, self.content = values, mask, content
        self.lengths = ()

    @property
    def utterances(self) -> int:
        return self.values.shape[0]

    @property
    def counts(self) -> Tensor:
        return self.mask.sum(1)

    def last_state(self, layer: nn.GRU) -> Tensor:
        """A GRU looks back only: run over the padding as well, its state after the last frame stands at that frame."""
        states, _ = layer(self._kept(self.values, self.mask))
        last = self.counts
        place = (last - 1).clamp(min=0).reshape(-1, 1, 1).expand(-1, 1, layer.hidden_size)
        return torch.where(last.unsqueeze(1) > 0, states.gather(1, place).squeeze(1), states.new_zeros(()))


class Graph(nn.Module):
    """The heads of an ensemble, each with its temperature.

    Args:
        ensemble: The heads.
        marked: Streams that come with a mask of content (special tokens are none).
    """

    temperatures: Tensor

    def __init__(self, ensemble: Ensemble, marked: Sequence[str]) -> None:
        super().__init__()
        self.streams, self.marked = ensemble.streams, tuple(marked)
        self.models = nn.ModuleList(member.model for member in ensemble.members if member.model is not None)
        self.pads = [dict(member.pad_to) for member in ensemble.members]
        folds = list(dict.fromkeys(member.fold for member in ensemble.members)) if ensemble.by_seed else []
        self.groups = [[n for n, member in enumerate(ensemble.members) if member.fold == fold] for fold in folds]
        self.register_buffer("temperatures", torch.tensor([m.temperature for m in ensemble.members]).reshape(-1, 1, 1))

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs, in order: per stream frames, lengths, and content where it is marked."""
        return [
            name
            for stream in self.streams
            for name in (stream, f"{stream}_lengths", *([f"{stream}_content"] if stream in self.marked else []))
        ]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Posteriors (batch, classes), calibrated and averaged; and each head's own logits (heads, batch, classes)."""
        named = dict(zip(self.inputs, inputs, strict=True))
        logits = torch.stack(
            [model(self._batch(named, pad)) for model, pad in zip(self.models, self.pads, strict=True)]
        )
        if not self.groups:
            return (logits / self.temperatures).softmax(2).mean(0), logits
        logs = (logits / self.temperatures).log_softmax(2).clamp(min=LOWEST)
        return torch.stack([logs[group].mean(0).softmax(1) for group in self.groups]).mean(0), logits

    def _batch(self, named: dict[str, Tensor], pad: dict[str, int]) -> dict[str, Any]:
        return {stream: self._frames(named, stream, pad.get(stream)) for stream in self.streams}

    def _frames(self, named: dict[str, Tensor], stream: str, fixed: int | None) -> Traced:
        values, lengths = named[stream], named[f"{stream}_lengths"]
        mask = torch.arange(values.shape[1], device=values.device).unsqueeze(0) < lengths.unsqueeze(1)
        if fixed is None:
            content = named[f"{stream}_content"] & mask if stream in self.marked else mask
            return Traced(values, mask, content)
        # as-found heads: filled with zeros, or cut, to a fixed number of frames, which all count
        values = torch.where(mask.reshape(*mask.shape, *[1] * (values.dim() - 2)), values, values.new_zeros(()))
        behind = values.new_zeros(values.shape[0], fixed, *values.shape[2:])
        values = torch.cat([values, behind], 1)[:, :fixed]
        every = torch.ones_like(values.reshape(values.shape[0], fixed, -1)[:, :, 0], dtype=torch.bool)
        return Traced(values, every, every)


TOLERANCE = 1e-5
"""Largest difference of any posterior between onnxruntime and torch."""

CHECKED = 200
"""Utterances that are compared."""

BATCH = 16
MODEL, FACTS = "model.onnx", "model.json"


def export_onnx(predictor: "Predictor", folder: Path) -> dict[str, Any]:
    """Writes ``model.onnx`` and ``model.json`` of a predictor's main heads.

    Args:
        predictor: Its row, fold, seed and calibration decide what is written.
        folder: Made if it is not there.

    Returns:
        What ``model.json`` holds; its ``checked`` says on what the two were compared and how far they are apart.

    Raises:
        PackageMissing: The extra ``onnx`` is not installed.
        NotExported: Torch cannot export these heads, or the result differs.
    """
    need_onnx()
    ensemble = predictor.main
    if ensemble.stacked:
        raise NotExported(
            f"the row '{ensemble.slug}' is stacked, or is a probe: its probes read all frames of an utterance, and the graph reads those of the stride",
            "Use --hub, which keeps the probes, or export a head alone: --row",
        )
    specs = {stream: predictor.specs[stream] for stream in ensemble.streams}
    marked = [s for s, own in specs.items() if own[0].frame_rate is None and not ensemble.text_first_only]
    graph = Graph(ensemble, marked).eval()
    samples = read_samples(predictor, CHECKED) or draw_samples(predictor, CHECKED)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / MODEL) as scratch:
        _write(graph, samples, scratch)
        difference = _compare(graph, ensemble, samples, scratch)
        if not difference <= TOLERANCE:
            raise NotExported(
                f"onnxruntime and torch are {difference:.2g} apart on {samples.origin}; at most {TOLERANCE:g} is allowed",
                f"Report this with the versions of torch, onnx and onnxruntime. The heads are '{ensemble.slug}'",
            )
        facts = _facts(predictor, graph, marked) | {
            "checked": {"utterances": samples.count, "frames_of": samples.origin, "largest_difference": difference}
        }
    with replacing(folder / FACTS) as scratch:
        scratch.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return facts


def need_onnx() -> None:
    """Raises ``PackageMissing`` where the extra ``onnx`` is not installed."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError as error:
            raise PackageMissing("ser export --onnx", package, "onnx") from error


def _write(graph: "Graph", samples: Samples, path: Path) -> None:
    batch = torch.export.Dim("batch")
    tensors, shapes = [], []
    named = _inputs(graph, samples, np.arange(min(3, samples.count), dtype=np.int64))
    for name in graph.inputs:
        stream = name.removesuffix("_lengths").removesuffix("_content")
        tensors.append(torch.from_numpy(named[name]))
        shapes.append({0: batch} if name.endswith("_lengths") else {0: batch, 1: torch.export.Dim(f"{stream}_frames")})
    write_graph(graph, tensors, (tuple(shapes),), (graph.inputs, ["posteriors", "logits"]), path)


def write_graph(
    module: nn.Module, tensors: Sequence[Tensor], shapes: Any, names: tuple[list[str], list[str]], path: Path
) -> None:
    """Writes a module of tensors as one ONNX file.

    Args:
        module: What the exporter follows.
        tensors: An example of its inputs.
        shapes: Their free dimensions, as for ``torch.onnx.export``.
        names: Of the inputs and of the outputs.
        path: File to write.

    Raises:
        NotExported: Torch's exporter cannot follow it.
    """
    import logging

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of packages that are not needed
    inputs, outputs = names
    try:
        with warnings.catch_warnings(action="ignore"):
            program = torch.onnx.export(
                module,
                tuple(tensors),
                dynamo=True,
                verbose=False,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=shapes,
            )
            assert program is not None
            program.save(path, external_data=False)
    except torch.onnx.errors.OnnxExporterError as error:
        cause = error.__cause__ or error
        first = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise NotExported(
            f"torch's exporter cannot follow these heads ({first})",
            "Export another row (--row), or write a folder for torch (--hub)",
        ) from error


def _inputs(graph: "Graph", samples: Samples, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The graph's inputs for some utterances, padded with zeros."""
    named: dict[str, NDArray[Any]] = {}
    for stream in graph.streams:
        frames = samples.streams[stream]
        lengths = frames.lengths[rows]
        layers, longest = len(frames.layers), max(1, int(lengths.max()))
        values = np.zeros((len(rows), longest, layers, frames.features), dtype=np.float32)
        content = np.zeros((len(rows), longest), dtype=np.bool_)
        for n, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            place = slice(frames.offsets[row], frames.offsets[row + 1])
            content[n, :length] = frames.content[place]
            for layer, stored in enumerate(frames.layers):
                values[n, :length, layer] = stored[place]
        named |= {stream: values[:, :, 0] if layers == 1 else values, f"{stream}_lengths": lengths}
        if stream in graph.marked:
            named[f"{stream}_content"] = content
    return {name: np.ascontiguousarray(value) for name, value in named.items()}


def _compare(graph: "Graph", ensemble: "Ensemble", samples: Samples, path: Path) -> float:
    """The largest difference of posteriors: the graph in onnxruntime, padded; the heads in torch, packed, as they predict."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = ensemble.posteriors(samples.streams, samples.count)
    difference = 0.0
    for start in range(0, samples.count, BATCH):
        rows = np.arange(start, min(start + BATCH, samples.count), dtype=np.int64)
        (posteriors,) = session.run(["posteriors"], _inputs(graph, samples, rows))
        apart = np.abs(posteriors - wanted[rows]).max()
        difference = max(difference, float(apart)) if np.isfinite(apart) else float("inf")
    return difference


def _facts(predictor: "Predictor", graph: "Graph", marked: list[str]) -> dict[str, Any]:
    main = predictor.main
    inputs: dict[str, str] = {}
    for stream in graph.streams:
        specs = predictor.specs[stream]
        layers = f", {len(specs)} layers" if len(specs) > 1 else ""
        inputs[stream] = f"float32 (batch, frames{layers}, {specs[0].features}); padding behind an utterance is ignored"
        inputs[f"{stream}_lengths"] = "int64 (batch,): frames of each utterance"
        if stream in marked:
            inputs[f"{stream}_content"] = "bool (batch, frames): False for special tokens and padding"
    return {
        "classes": list(predictor.classes),
        "row": main.slug,
        "inputs": inputs,
        "outputs": {
            "posteriors": "float32 (batch, classes): calibrated, averaged over the heads",
            "logits": "float32 (heads, batch, classes): of each head, before its temperature",
        },
        "heads": [{"fold": m.fold, "seed": m.seed, "temperature": m.temperature} for m in main.members],
        "stride": int(predictor.source.facts.get("stride") or 1),
        "first_token_only": main.text_first_only,
        "features": {stream: [spec.as_dict() for spec in predictor.specs[stream]] for stream in graph.streams},
        "corpus": predictor.source.facts["corpus"],
        "protocol": predictor.source.facts["protocol"],
    }
