"""Rows beside published results: the right range, the right verdict, and causes that fit the run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ser_data.manifest.labels import SCHEMES
from ser_data.protocols import PROTOCOLS
from ser_fusion.evaluation.metrics import METRICS
from ser_fusion.evaluation.published import MARGIN, PUBLISHED, Placed, far_off, model_name, place_rows
from ser_fusion.reporting.report import published_table, write_report


def placed(wa: float, uwa: float, streams: tuple[str, ...] = ("audio",), **changes: Any) -> list[Placed]:
    """One row of a run on IEMOCAP with four classes, wav2vec2-base and sessions, changed as asked."""
    scores: Mapping[str, Any] = {name: {"mean": None} for name in METRICS}
    scores = {**scores, "WA": {"mean": wa}, "UWA": {"mean": uwa}}
    row = {"name": "head", "kind": "head", "streams": list(streams), "metrics": scores, **changes.pop("row", {})}
    run = {
        "corpus": {"name": "iemocap", "synthetic": False},
        "labels": "iemocap-4",
        "protocol": "session",
        "counts": {"utterances": 5531},
        "cache": {"entries": {"audio": {"encoder": "facebook/wav2vec2-base", "layer": 8}}},
        **changes,
    }
    return place_rows({"rows": [row], "overlap": None}, run)


def test_every_entry_can_be_met():
    for one in PUBLISHED:
        assert one.labels in SCHEMES and one.source and one.kind in ("frozen", "tuned", "older")
        assert all(name in PROTOCOLS for name in one.protocols) and set(one.scores) <= set(METRICS)
        assert all(0 < value < 1 for value in one.scores.values()) and one.streams == tuple(sorted(one.streams))


def test_a_row_of_the_same_encoder_is_within_its_own_range():
    lines = placed(0.61, 0.60)
    assert [(line.metric, line.verdict, line.range) for line in lines] == [
        ("WA", "within", ".577 to .634"),
        ("UWA", "within", ".583"),
    ]
    assert "frozen wav2vec2-base" in lines[0].systems and far_off(lines) == []


def test_far_below_names_the_layer_and_the_missing_turns():
    entries = {"audio": {"encoder": "facebook/wav2vec2-base-960h", "layer": 12}}
    line = placed(0.577 - MARGIN - 0.01, 0.55, counts={"utterances": 2588}, cache={"entries": entries})[0]
    assert line.verdict == "far below" and "frozen wav2vec2-base" in line.systems
    assert "2,588 utterances were used, and published results have 5,531" in line.sentence
    assert "layer 12 is the last one" in line.sentence and "trained to transcribe" in line.sentence
    assert "random folds share" not in line.sentence


def test_a_swapped_metric_is_recognised():
    line = placed(0.70, 0.61)[0]
    assert line.verdict == "far above" and "the UWA of this row would fit" in line.sentence
    assert "would fit" not in placed(0.70, 0.70)[0].sentence


def test_imported_features_and_chance_are_named():
    spec = {"declared": {"imported": True}}
    entries = {"audio": {"encoder": "facebook/wav2vec2-base", "layer": 8, "specs": [spec]}}
    chance = {"chance": {"equivalent": True}}
    causes = placed(0.31, 0.25, cache={"entries": entries}, row=chance)[0].causes
    assert "at chance" in causes[0] and any("padding" in cause for cause in causes)


def test_random_folds_have_a_ceiling_of_their_own():
    assert placed(0.79, 0.78, protocol="random")[0].verdict == "within"
    line = placed(0.90, 0.90, protocol="random")[0]
    assert line.verdict == "far above" and line.range == "at most .796" and "random folds share" in line.sentence


def test_both_streams_have_a_ceiling_and_seven_classes_a_floor():
    assert placed(0.60, 0.60, ("text", "audio"))[0].verdict == "within"
    assert placed(0.86, 0.86, ("text", "audio"))[0].verdict == "far above"
    seven = placed(0.40, 0.30, ("text", "audio"), labels="iemocap-7", counts={"utterances": 7487})
    assert {line.verdict for line in seven} == {"far below"} and seven[0].range == "at least .498"


def test_random_folds_of_cremad_are_compared_with_random_folds_only():
    """EmoBox trains and tests on the same actors there, so a row on new actors is not below it by a fault."""
    run = {"labels": "cremad-6", "counts": {"utterances": 7442}}
    assert placed(0.5, 0.5, protocol="speaker-5", **run) == []
    assert placed(0.6, 0.6, protocol="random", **run)[0].range == ".619"


@pytest.mark.parametrize(
    "changes",
    [
        {"corpus": {"name": "iemocap", "synthetic": True}},
        {"labels": "own"},
        {"protocol": "session+scenario"},
        {"row": {"streams": ["video"]}},
        {"row": {"kind": "lost"}},
    ],
)
def test_what_nobody_published_is_not_compared(changes: dict[str, Any]):
    assert placed(0.2, 0.2, **changes) == [] and published_table([]) is None


def test_an_unknown_encoder_is_placed_among_all():
    entries = {"audio": {"encoder": "own/encoder", "layer": 3}}
    line = placed(0.60, 0.60, cache={"entries": entries})[0]
    assert line.range == ".532 to .729" and "systems such as" in line.systems
    assert model_name("facebook/wav2vec2-base-960h") == model_name("/models/wav2vec2-base") == "wav2vec2-base"


def test_the_report_shows_it(run_copy: Path):
    run, metrics = (json.loads((run_copy / name).read_text()) for name in ("run.json", "metrics.json"))
    run |= {"labels": "iemocap-7", "corpus": {**run["corpus"], "name": "iemocap", "synthetic": False}}
    heads = [row for row in metrics["rows"] if row["kind"] == "head"]
    for row in heads:
        row["streams"] = [row["slug"]] if row["slug"] in ("audio", "text") else ["audio", "text"]
    (run_copy / "run.json").write_text(json.dumps(run))
    (run_copy / "metrics.json").write_text(json.dumps(metrics))  # the newest, so the run is not judged again
    lines = place_rows(metrics, run)
    assert {line.row for line in lines} == {row["name"] for row in heads}
    page = write_report(run_copy, files=False).read_text()
    assert "Beside published results" in page and "Rajan, Brutti, Cavallaro" in page
    assert all(line.verdict in page for line in lines)
