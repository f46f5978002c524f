"""Run directories of released format versions are read, judged, compared and predict for ever."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from ser_fusion.cli.compare import compare
from ser_fusion.errors import NotARun
from ser_fusion.evaluation.run_directory import RunDirectory, find_runs
from ser_fusion.evaluation.run_metrics import evaluate_run
from ser_fusion.frames.feed import Feed
from ser_fusion.heads.model import load_model
from ser_fusion.heads.vad import rate
from ser_fusion.reporting.report import write_report
from ser_fusion.runs.job import study_options
from ser_fusion.runs.run import repeat
from ser_fusion.runs.task import read_frames
from ser_fusion.study.open import open_study
from ser_fusion.training.scoring import posteriors
from ser_predict.models.ensemble import Ensemble
from ser_predict.models.hub import open_heads

GOLDEN = Path(__file__).resolve().parent / "golden/runs-v1"
CLASSED = ("heads", "as-found", "mdre", "tuned", "beside")
TOLERANCE = 2e-5
"""Greatest difference of a posterior (or rating) from the frozen one: float32 sums in another order."""


def frames_and_ids(run: str) -> tuple[dict, pd.Index]:
    """The frames of a golden run as its heads read them."""
    job, _ = repeat(GOLDEN / run, cache=GOLDEN / "cache", out=Path("nowhere"))
    study = open_study(job.cache, **study_options(job))
    return read_frames(job, study, list(study.streams)), study.table.index


@pytest.mark.parametrize("run", [*CLASSED, "vad"])
def test_every_training_predicts_what_it_predicted(run: str) -> None:
    streams, ids = frames_and_ids(run)
    folders = sorted(path.parent for path in (GOLDEN / run / "jobs").glob("*/*/head.json"))
    assert len(folders) == {"heads": 24, "as-found": 6, "mdre": 1, "tuned": 3, "vad": 3, "beside": 3}[run]
    for folder in folders:
        model, card = load_model(folder), json.loads((folder / "head.json").read_text())
        feed = Feed(streams, model.streams, pad_to=card["pad_to"])
        for part in ("test", "dev"):
            frozen = pd.read_parquet(folder / f"{part}.parquet")
            rows = ids.get_indexer(pd.Index(frozen["id"])).astype(np.int64)
            assert len(rows) == 12 and (rows >= 0).all()
            if run == "vad":
                given, columns = rate(model, feed, rows), ["p0", "p1"]
            else:
                given, columns = posteriors(model, feed, rows), ["p_angry", "p_neutral", "p_sad"]
            assert np.abs(given - frozen[columns].to_numpy()).max() < TOLERANCE, (folder, part)


@pytest.mark.parametrize("run", CLASSED)
def test_they_are_judged_reported_and_compared(run: str, tmp_path: Path) -> None:
    copy = tmp_path / run
    shutil.copytree(GOLDEN / run, copy)
    frozen = {row["slug"]: row for row in json.loads((GOLDEN / run / "metrics.json").read_text())["rows"]}
    judged = {row["slug"]: row for row in evaluate_run(copy)["rows"]}
    assert list(judged) == list(frozen) == [row["slug"] for row in RunDirectory.open(copy).rows]
    for slug, row in frozen.items():
        for metric in ("UWA", "WA", "UWF1"):
            assert judged[slug]["metrics"][metric]["mean"] == pytest.approx(row["metrics"][metric]["mean"], abs=1e-12)
    page = write_report(copy, files=False).read_text()
    assert all(row["name"] in page for row in frozen.values() if row["kind"] == "head")
    compared = CliRunner().invoke(compare, [str(copy)])
    heads = [row for row in frozen.values() if row["kind"] == "head"]
    assert compared.exit_code == 0, compared.output
    assert len(heads) < 2 or heads[0]["name"] in compared.output


def ensemble_posteriors(ensemble: Ensemble) -> np.ndarray:
    streams, ids = frames_and_ids("heads")
    return ensemble.posteriors(streams, len(ids))


def test_rows_and_their_export_predict_the_same() -> None:
    source, export = open_heads(GOLDEN / "heads"), open_heads(GOLDEN / "hub")
    heads = ["audio-stats", "self-stats", "cross-stats", "late-calibrated-stats"]
    assert [row["slug"] for row in source.rows] == [*heads, *(f"{head}-ensemble-seeds" for head in heads)]
    assert {row["slug"] for row in export.rows} == {"self-stats", "audio-stats"}
    for row in export.rows:
        ours, theirs = source.open(row, calibrate=False), export.open(row, calibrate=False)
        assert len(ours.members) == len(theirs.members) == 6  # three folds, two seeds
        assert np.abs(ensemble_posteriors(ours) - ensemble_posteriors(theirs)).max() < TOLERANCE
    temperatures = [member.temperature for member in export.open(export.rows[0]).members]
    kept = json.loads((GOLDEN / "hub/config.json").read_text())["rows"][0]["members"]
    assert temperatures == [member["temperature"] for member in kept]  # fitted when it was exported, not now


def test_ratings_are_listed_and_refused_in_words() -> None:
    listed = {one.path.name: one for one in find_runs(GOLDEN)}
    assert set(listed) == {*CLASSED, "vad"} and listed["heads"].problem is None and listed["heads"].seeds == (0, 1)
    with pytest.raises(NotARun, match="it predicts ratings"):
        RunDirectory.open(GOLDEN / "vad")
    metrics = json.loads((GOLDEN / "vad/metrics.json").read_text())
    assert metrics["dimensions"] == ["valence", "arousal"]
