"""Heads as one ONNX graph, written only if onnxruntime gives what torch gives."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ser_base.errors import PackageMissing
from ser_base.files import replacing
from ser_predict.errors import NotExported
from ser_predict.export.samples import Samples, draw_samples, read_samples

if TYPE_CHECKING:
    from ser_predict.export.graph import Graph
    from ser_predict.models.ensemble import Ensemble
    from ser_predict.recordings.predictor import Predictor

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
        NotExported: torch cannot export these heads, or the result differs.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError as error:
            raise PackageMissing("ser export --onnx", package, "onnx") from error
    from ser_predict.export.graph import Graph

    ensemble = predictor.main
    if ensemble.stacked:
        raise NotExported(
            f"the row '{ensemble.slug}' is stacked, or is a probe: its probes read all frames of an utterance, and the graph reads those of the stride",
            "Give --hub, which keeps them, or export a head alone (--row)",
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
                f"onnxruntime and torch are {difference:.2g} apart on {samples.origin}; allowed is {TOLERANCE:g}",
                f"Please report this with the versions of torch, onnx and onnxruntime; the heads are '{ensemble.slug}'",
            )
        facts = _facts(predictor, graph, marked) | {
            "checked": {"utterances": samples.count, "frames_of": samples.origin, "largest_difference": difference}
        }
    with replacing(folder / FACTS) as scratch:
        scratch.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return facts


def _write(graph: "Graph", samples: Samples, path: Path) -> None:
    import logging

    import torch

    batch = torch.export.Dim("batch")
    tensors, shapes = [], []
    given = _inputs(graph, samples, np.arange(min(3, samples.count), dtype=np.int64))
    for name in graph.inputs:
        stream = name.removesuffix("_lengths").removesuffix("_content")
        tensors.append(torch.from_numpy(given[name]))
        shapes.append({0: batch} if name.endswith("_lengths") else {0: batch, 1: torch.export.Dim(f"{stream}_frames")})
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of packages that are not needed
    try:
        with warnings.catch_warnings(action="ignore"):
            program = torch.onnx.export(
                graph,
                tuple(tensors),
                dynamo=True,
                verbose=False,
                input_names=graph.inputs,
                output_names=["posteriors", "logits"],
                dynamic_shapes=(tuple(shapes),),
            )
            assert program is not None
            program.save(path, external_data=False)
    except torch.onnx.errors.OnnxExporterError as error:
        cause = error.__cause__ or error
        first = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise NotExported(
            f"torch's exporter cannot follow these heads ({first})",
            "Export another row (--row), or use --hub: a folder for torch",
        ) from error


def _inputs(graph: "Graph", samples: Samples, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The graph's inputs for some utterances, padded with zeros."""
    given: dict[str, NDArray[Any]] = {}
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
        given |= {stream: values[:, :, 0] if layers == 1 else values, f"{stream}_lengths": lengths}
        if stream in graph.marked:
            given[f"{stream}_content"] = content
    return {name: np.ascontiguousarray(value) for name, value in given.items()}


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
