"""Mirrors: what arrives there, and what is said where the library is missing."""

import json
import sys
from pathlib import Path

import pytest

from ser_base.errors import PackageMissing
from ser_fusion.reporting.mirrors import MIRRORS, to_mlflow, to_tensorboard


@pytest.mark.parametrize(("mirror", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow")])
def test_a_missing_library_is_named_with_the_command_that_helps(
    judged_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: str, module: str
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PackageMissing, match="pip install"):
        MIRRORS[mirror](judged_run, tmp_path)


def test_tensorboard_gets_curves_and_scores(judged_run: Path, tmp_path: Path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    to_tensorboard(judged_run, tmp_path)
    rows = EventAccumulator(str(tmp_path / "rows")).Reload()
    metrics = json.loads((judged_run / "metrics.json").read_text())
    cross = next(row for row in metrics["rows"] if row["slug"] == "cross")
    assert rows.Scalars("cross/UWA_pooled")[0].value == pytest.approx(cross["metrics"]["UWA"]["pooled"])
    job = EventAccumulator(str(tmp_path / "cross" / "foldSes01-seed0")).Reload()
    curve = json.loads((judged_run / "jobs" / "cross" / "foldSes01-seed0" / "curve.json").read_text())
    assert [point.value for point in job.Scalars("dev_uwa")] == pytest.approx([epoch["dev_uwa"] for epoch in curve])


def test_mlflow_gets_options_scores_and_the_report(judged_run: Path, tmp_path: Path):
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")

    to_mlflow(judged_run, tmp_path)
    found = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("demo, session").experiment_id])
    assert len(found) == 1 and found[0].data.params["protocol"] == "session"
    metrics = json.loads((judged_run / "metrics.json").read_text())
    audio = next(row for row in metrics["rows"] if row["slug"] == "audio")
    assert found[0].data.metrics["audio/UWA_mean"] == pytest.approx(audio["metrics"]["UWA"]["mean"])
    assert list(tmp_path.rglob("metrics.json"))
