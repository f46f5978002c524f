"""One definition of a probe: the reference rows, `logreg`, `ser probe` and the leak audit agree to the last digit."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_fusion.evaluation.audit import audit_run
from ser_fusion.evaluation.layer_probe import probe_study, summary
from ser_fusion.evaluation.metrics import confusion, scores_of
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.run import run
from ser_fusion.study.open import open_study


@pytest.fixture(scope="module", params=[False, True], ids=["no-refit", "refit"])
def judged(request: pytest.FixtureRequest, small_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads and `logreg` by session, one epoch."""
    out = tmp_path_factory.mktemp("probes") / "run"
    asked = {"fusion": ("audio", "concat"), "classifier": ("logreg",), "pooling": ("stats", "mean")}
    run(FuseJob(cache=small_cache, out=out, epochs=1, workers=0, stride=4, refit=request.param, **asked))
    return out


def of(frame: pd.DataFrame, slug: str, classes: list[str]) -> np.ndarray:
    own = frame[frame["row"] == slug].sort_values(["fold", "id"])
    assert len(own)
    return own[[f"p_{name}" for name in classes]].to_numpy()


def test_all_four_agree(judged: Path, small_cache: Path) -> None:
    found = RunDirectory.open(judged)
    audited = {row["slug"]: row["scores"]["session"] for row in json.loads((judged / "audit.json").read_text())["rows"]}
    alone = {row["slug"]: row["scores"]["session"] for row in audit_run(judged, protocols=("session",))["rows"]}
    lines = summary(probe_study(open_study(small_cache), refit=found.run["refit"]))
    for streams in ("audio", "text", "both"):
        for pooling in ("mean", "stats"):
            slug = f"probe-{streams}-{pooling}"
            own = found.of_row(slug)
            given = scores_of(confusion(own["label"], own["predicted"], found.classes))
            other = f"logreg-{streams.replace('both', 'audio+text')}" + ("" if pooling == "stats" else "-mean")
            for frame in (found.predictions, found.development):
                assert frame is not None
                assert np.array_equal(of(frame, slug, found.classes), of(frame, other, found.classes)), slug
            if pooling == "mean" and streams != "both":  # the audit has the product of the streams' probes instead
                for audit in (audited, alone):
                    assert audit[slug]["UWA"] == given["UWA"] and audit[slug]["WA"] == given["WA"]
            if streams != "both":
                told = {"mean": "mean", "stats": "mean+std"}[pooling]
                line = lines[(lines["stream"] == streams) & (lines["pooling"] == told)].iloc[0]
                assert line["uwa_pooled"] == given["UWA"]


def test_every_head_is_told_beside_its_own_probe(judged: Path) -> None:
    metrics = json.loads((judged / "metrics.json").read_text())
    rows = {row["slug"]: row for row in metrics["rows"]}
    for slug, streams in (("audio-stats", ["audio"]), ("concat-mean", ["audio", "text"])):
        probe = rows[rows[slug]["own_probe"]]
        assert probe["streams"] == streams and probe["slug"].startswith("probe-")
        assert (slug, probe["slug"]) in {(pair["slug_a"], pair["slug_b"]) for pair in metrics["comparisons"]}
        report = (judged / "report.html").read_text()
        assert "own linear probe" in report
    gap = (
        rows["audio-stats"]["metrics"]["UWA"]["pooled"]
        - rows[rows["audio-stats"]["own_probe"]]["metrics"]["UWA"]["pooled"]
    )
    if gap < -0.001:
        assert f"audio is {-100 * gap:.1f} points UWA below its own linear probe" in report
    assert ("is applied to the head trained again" in report) == metrics["refit"]


def fitted(run: Path) -> dict[str, int]:
    """When each probe and each classifier was written."""
    files = [*run.glob("probes/*"), *run.glob("jobs/logreg-*/*/*")]
    return {str(path.relative_to(run)): path.stat().st_mtime_ns for path in files}


def test_a_probe_is_fitted_once(judged: Path, small_cache: Path) -> None:
    before, written = pd.read_parquet(judged / "predictions.parquet"), fitted(judged)
    assert len({Path(name).parts[0] for name in written}) == 2
    run(FuseJob.model_validate(json.loads((judged / "run.json").read_text())["job"]))
    assert before.equals(pd.read_parquet(judged / "predictions.parquet")) and fitted(judged) == written
