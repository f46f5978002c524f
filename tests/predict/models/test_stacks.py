"""Stacked rows and averaged seeds predict what the run's own table says, from recordings and from an exported folder."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.run import run
from ser_predict import Predictor
from ser_predict.errors import NotExported
from ser_predict.export.cli import command
from ser_predict.export.onnx import export_onnx

ROWS = ("cross-stats-stacked", "cross-stats-ensemble-seeds", "audio-stats-stacked", "probe-both-stats")


@pytest.fixture(scope="module")
def judged(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stacks") / "run"
    asked = {"fusion": ("audio", "cross"), "seeds": (0, 1), "ensemble": ("seeds",), "stride": 2}  # stacked by default
    layers = {"audio_layer": 2, "text_layer": "last"}
    run(FuseJob(cache=small.folder / "cache", out=out, epochs=2, workers=0, device="cpu", **asked, **layers))
    return out


def posteriors(small: Any, source: Path, ids: list[str], **options: Any) -> np.ndarray:
    places = {"audio_encoder": str(small.audio_encoder), "text_encoder": str(small.text_encoder)}
    own = Predictor(source, **places, device="cpu", offline=True, **options)
    said = {row["id"]: row["text"] for row in small.rows}
    files = {str(small.folder / f"{name}.wav"): said[name] for name in ids}
    found = list(own.predict(files, files))
    assert [one.error for one in found] == [None] * len(ids) and {one.row for one in found} == {options["row"]}
    return np.array([list(one.posteriors.values()) for one in found])


@pytest.mark.parametrize("row", ROWS)
def test_a_recording_gets_what_the_table_says(small: Any, judged: Path, row: str, tmp_path: Path) -> None:
    predictions = pd.read_parquet(judged / "predictions.parquet")
    table = predictions[predictions["row"] == row]
    fold = str(table["fold"].iloc[0])
    seeds = [None] if "seeds" in row or "probe" in row else [1]
    kept = table[(table["fold"] == fold) & (table["seed"] == (seeds[0] or 0))].iloc[:4]
    wanted = kept[[name for name in kept if name.startswith("p_")]].to_numpy()
    calibrate = "seeds" in row  # averaged seeds are stored after their temperatures, stacks before
    options = {"row": row, "fold": fold, "seed": seeds[0], "calibrate": calibrate}
    given = posteriors(small, judged, list(kept["id"]), **options)
    np.testing.assert_allclose(given, wanted, atol=2e-3)  # encoded again, within the stored type's rounding
    single = predictions[predictions["row"] == row.removesuffix("-stacked")].set_index(["id", "fold", "seed"])
    if row.endswith("-stacked"):
        alone = single.loc[[(name, fold, 1) for name in kept["id"]], [name for name in kept if name.startswith("p_")]]
        assert np.abs(alone.to_numpy() - wanted).max() > 0.02  # else nothing was shown
    assert Predictor(judged, encoders=False).main.slug[:5] != "probe", "a probe answers where it is asked for"
    Predictor(judged, row=row, encoders=False).save_pretrained(tmp_path / "hub")
    again = posteriors(small, tmp_path / "hub", list(kept["id"]), **options)
    np.testing.assert_allclose(again, given, atol=1e-6)


def test_export_says_what_it_cannot_do_and_averages_seeds(judged: Path, tmp_path: Path) -> None:
    with pytest.raises(NotExported, match="is stacked, or is a probe"):
        export_onnx(Predictor(judged, row="cross-stats-stacked", encoders=False), tmp_path / "a")
    facts = export_onnx(Predictor(judged, row="audio-stats-ensemble-seeds", encoders=False), tmp_path / "b")
    assert facts["checked"]["largest_difference"] < 1e-5


def test_a_graph_gets_the_head_of_a_stacked_row(judged: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(judged, tmp_path / "run"))
    development = pd.read_parquet(run / "development.parquet")
    best = development["row"] == "audio-stats-stacked"
    wrong = development["label"].map({"happy": "sad", "sad": "neutral", "neutral": "happy"})
    development["predicted"] = development["label"].where(best, wrong)  # this row is always right, the others never
    development.to_parquet(run / "development.parquet")
    assert Predictor(run, encoders=False).main.slug == "audio-stats-stacked"
    asked = [str(run), "--fold", "1", "--seed", "0", "--onnx", str(tmp_path / "graph")]
    done = CliRunner().invoke(command, asked)
    assert done.exit_code == 0, done.output
    assert "It gets its head, audio-stats" in done.output and (tmp_path / "graph/model.onnx").is_file()
    refused = CliRunner().invoke(command, [*asked, "--row", "audio-stats-stacked"])
    words = " ".join(refused.output.replace("│", " ").split())  # without the frame and its line breaks
    assert refused.exit_code == 1 and "is stacked, or is a probe" in words


def test_the_report_keeps_stacks_apart(judged: Path) -> None:
    import json

    metrics = json.loads((judged / "metrics.json").read_text())
    rows = {row["slug"]: row for row in metrics["rows"]}
    assert {rows[slug]["kind"] for slug in ROWS} == {"stacked", "ensemble", "reference"}
    assert not set(metrics["best"].values()) & {slug for slug in rows if "stacked" in slug}
    pairs = {(pair["slug_a"], pair["slug_b"]) for pair in metrics["comparisons"]}
    assert ("cross-stats-stacked", "cross-stats") in pairs
    assert rows["audio-stats-stacked"]["own_probe"] == rows["audio-stats"]["own_probe"]
    assert (rows["audio-stats-stacked"]["slug"], rows["audio-stats"]["own_probe"]) in pairs
    assert not any("stacked" in a and "stacked" in b for a, b in pairs)
    assert "by their rows that are not stacked" in (judged / "report.html").read_text()
