"""ONNX equals torch: every head, any batch and length, empty utterances and garbage in the padding; and refused otherwise."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="needs the extra onnx")
import onnxruntime

from ser_fusion.heads import HEADS
from ser_fusion.heads.model import Model
from ser_fusion.heads.pool_norm import PoolNorm
from ser_fusion.heads.shape import Shape
from ser_predict.export.cli import command
from ser_predict.models.ensemble import Ensemble, Member

DIMS = {"audio": 16, "text": 12}
LAYERS = {"audio": 2, "text": 1}


def ensemble(fusion: str, pad_to: dict[str, int] | None = None, **shape: Any) -> Ensemble:
    """One head with random weights, two audio layers, one text layer."""
    streams = {fusion: DIMS[fusion]} if fusion in DIMS else DIMS
    torch.manual_seed(0)
    own = {stream: LAYERS[stream] for stream in streams}
    model = Model(fusion, streams, own, 3, Shape(**{"width": 16, "pool_norm": "batch", **shape}), True).eval()
    for norm in (module for module in model.modules() if isinstance(module, PoolNorm)):  # as training would leave them
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.1, 2.0)
    member = Member(model, "1", 0, 1.5, pad_to or {})
    return Ensemble(fusion, fusion, tuple(streams), False, 0.5, (member,), (np.zeros(0), np.zeros(0, bool)))


class Stub:
    """What exporting asks of a predictor."""

    def __init__(self, heads: Ensemble) -> None:
        from ser_cache import EntrySpec

        self.main, self.classes = heads, ("a", "b", "c")
        self.specs = {
            stream: tuple(
                EntrySpec(
                    modality=stream, encoder="x", layer=layer, dtype="float16", features=DIMS[stream],
                    frame_rate=50.0 if stream == "audio" else None,
                )
                for layer in range(LAYERS[stream])
            )
            for stream in heads.streams
        }  # fmt: skip
        self.source = type("Source", (), {"facts": {"stride": 1, "corpus": {"name": "x"}, "protocol": "session"}})()


ALL = pytest.mark.crash  # torch's exporter takes 7 s of CPU for each: all of them with make crash
CASES = [
    pytest.param("mdre", {}, id="mdre"),
    pytest.param(
        "self+cross", {"pooling": "max", "text_pooling": "attention", "feedforward": 8}, id="self+cross", marks=ALL
    ),
    pytest.param("cross", {"residual": False}, id="cross", marks=ALL),
    pytest.param("bottleneck", {}, id="bottleneck", marks=ALL),
    pytest.param("late-average", {}, id="late-average", marks=ALL),
    pytest.param("late", {}, id="late", marks=ALL),
    pytest.param("late-calibrated", {}, id="late-calibrated", marks=ALL),
    pytest.param("gated", {"pooling": "attention"}, id="gated", marks=ALL),
    pytest.param("concat", {"width": None}, id="concat"),
    pytest.param("self", {}, id="self", marks=ALL),
    pytest.param("text-queries-audio", {}, id="text-queries-audio", marks=ALL),
    pytest.param("audio", {}, id="audio", marks=ALL),
    pytest.param("text", {"pooling": "cls"}, id="text", marks=ALL),
    pytest.param("bilinear", {}, id="bilinear", marks=ALL),
]


@pytest.mark.parametrize(("fusion", "shape"), CASES)
def test_a_head_equals_torch(fusion: str, shape: dict[str, Any], tmp_path: Path):
    """``export_onnx`` itself compares 200 utterances with the packed engine; here the padding holds garbage as well."""
    from ser_predict.export.onnx import Graph, export_onnx

    heads = ensemble(fusion, **shape)
    facts = export_onnx(Stub(heads), tmp_path)  # type: ignore[arg-type]
    assert facts["checked"]["utterances"] == 200 and facts["checked"]["largest_difference"] < 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    graph = Graph(heads, [stream for stream in heads.streams if stream == "text"])
    assert [one.name for one in session.get_inputs()] == graph.inputs
    draw = np.random.default_rng(1)
    for batch, audio, text in ((1, 1, 1), (1, 70, 3), (5, 30, 11)):
        given, dirty = {}, {}
        for stream in heads.streams:
            frames = {"audio": audio, "text": text}[stream]
            lengths = draw.integers(0 if batch > 1 else 1, frames + 1, batch)
            values = draw.standard_normal((batch, frames, *([2] if stream == "audio" else []), DIMS[stream]))
            given |= {stream: values.astype(np.float32), f"{stream}_lengths": lengths.astype(np.int64)}
            garbage = given[stream].copy()
            garbage[np.arange(frames) >= lengths[:, None]] = np.nan
            dirty[stream] = garbage
            if stream == "text":
                given["text_content"] = np.ones((batch, frames), np.bool_)
        posteriors, logits = session.run(None, given)
        with torch.inference_mode():
            wanted = graph(*(torch.from_numpy(given[name]) for name in graph.inputs))
        assert np.abs(posteriors - wanted[0].numpy()).max() < 1e-5
        assert np.abs(logits - wanted[1].numpy()).max() < 1e-4
        assert np.abs(session.run(None, given | dirty)[0] - posteriors).max() < 1e-6


@pytest.mark.parametrize("fusion", sorted(set(HEADS) - {"video", "prosody"}))
def test_every_head_can_be_followed_as_tensors(fusion: str):
    """The module that the exporter follows, run by torch, against the packed engine; no head may ask for Python's lengths."""
    from ser_predict.export.onnx import Graph, _inputs, draw_samples

    heads = ensemble(fusion)
    samples = draw_samples(Stub(heads), 40)  # type: ignore[arg-type]
    graph = Graph(heads, [stream for stream in heads.streams if stream == "text"]).eval()
    given = _inputs(graph, samples, np.arange(40, dtype=np.int64))
    with torch.inference_mode():
        posteriors, _ = graph(*(torch.from_numpy(given[name]) for name in graph.inputs))
    assert np.abs(posteriors.numpy() - heads.posteriors(samples.streams, 40)).max() < 1e-5


@ALL
def test_fixed_lengths_are_part_of_the_graph(tmp_path: Path):
    from ser_predict.export.onnx import export_onnx

    heads = ensemble("cross", {"audio": 40, "text": 8})
    assert export_onnx(Stub(heads), tmp_path)["checked"]["largest_difference"] < 1e-5  # type: ignore[arg-type]


class Shifted(Ensemble):
    """Heads that are 2e-5 away from their own graph."""

    def posteriors(self, *inputs: Any) -> np.ndarray:
        return Ensemble.posteriors(self, *inputs) + 2e-5


def test_heads_that_differ_are_not_written(tmp_path: Path):
    from ser_predict.errors import NotExported
    from ser_predict.export.onnx import export_onnx

    heads = ensemble("text")
    heads = Shifted(**{field.name: getattr(heads, field.name) for field in fields(heads)})
    with pytest.raises(NotExported, match="apart on 200 utterances"):
        export_onnx(Stub(heads), tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_every_head_is_tried_here():
    assert set(HEADS) - {case.id for case in CASES} <= {"video", "prosody"}  # single streams, as audio is


def test_from_the_command_line(small: Any, tmp_path: Path):
    """The run's own 36 utterances, from its cache; two audio layers, three heads."""
    done = CliRunner().invoke(
        command, [str(small.run), "--row", "cross", "--seed", "0", "--onnx", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "out" / "model.json").read_text())
    assert facts["checked"]["frames_of"] == "36 utterances of the run's cache" and len(facts["heads"]) == 3
    assert facts["checked"]["largest_difference"] < 1e-5 and facts["stride"] == 2
    assert "differ by at most" in done.output and facts["classes"] == ["happy", "neutral", "sad"]


def test_the_whole_chain_from_the_waveform(small: Any, predictor: Any, tmp_path: Path):
    """One head, two layers, stride 2: compared with ``ser predict`` by the command itself, and on three recordings here."""
    import soundfile

    words = ["--fold", "1", "--seed", "0", "--encoder", f"audio={small.audio_encoder},text={small.text_encoder}"]
    asked = [str(small.run), "--onnx", str(tmp_path), "--waveform", *words]
    done = CliRunner().invoke(command, asked)
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "model.json").read_text())
    assert facts["checked"]["of"] == "36 recordings of the run's corpus" and facts["row"] == "audio-stats"
    assert facts["checked"]["largest_difference"] < 1e-3 and facts["shortest"] == 400 + 2 * 320
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    files = [small.file(number) for number in (0, 4, 8)]
    for file, line in zip(files, predictor(row="audio", fold="1", seed=0).predict(files), strict=True):
        samples = soundfile.read(file, dtype="float32")[0]
        (posteriors,) = session.run(None, {"samples": samples[None]})
        assert posteriors[0] == pytest.approx(list(line.posteriors.values()), abs=1e-3)
    refused = CliRunner().invoke(command, [*asked, "--row", "cross"])
    assert refused.exit_code == 1 and "reads audio and text" in refused.output
