"""Copies a judged run into TensorBoard or MLflow, for those who keep their experiments there. Optional extras.

The run directory stays the truth: a mirror gets scores per row, fold and epoch, and nothing is ever read back from it.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ser_base.errors import PackageMissing
from ser_fusion.errors import RecordBroken
from ser_fusion.evaluation.metrics import METRICS
from ser_fusion.evaluation.records import read_json
from ser_fusion.evaluation.run_directory import RunDirectory, job_folders


def _scores(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Name and value of every row's headline scores, pooled and as mean over folds."""
    for row in metrics["rows"]:
        for metric in METRICS:
            for kind in ("pooled", "mean"):
                value = row["metrics"][metric][kind]
                if value is not None:
                    yield f"{row['slug']}/{metric}_{kind}", float(value)


def _curves(folder: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Job name (``row/fold0-seed0``) and learning curve of every job that has one."""
    for job in job_folders(folder):
        try:
            curve = read_json(job / "curve.json")
        except RecordBroken:
            continue
        if isinstance(curve, list):
            yield f"{job.parent.name}/{job.name}", curve


def _numbers(epoch: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in epoch.items() if key != "epoch" and isinstance(value, int | float)}


def to_tensorboard(run_dir: Path, target: Path) -> None:
    """Writes TensorBoard event files below ``target``: one log per job with its curve, and one with the rows' scores."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise PackageMissing("the mirror 'tensorboard'", "tensorboard") from None
    run, metrics = _judged(run_dir)
    for job, curve in _curves(run.path):
        with SummaryWriter(str(target / job)) as writer:
            for epoch in curve:
                for key, value in _numbers(epoch).items():
                    writer.add_scalar(key, value, int(epoch.get("epoch", 0)))
    with SummaryWriter(str(target / "rows")) as writer:
        for name, value in _scores(metrics):
            writer.add_scalar(name, value, 0)
        writer.add_text("summary", "\n\n".join(pair["sentence"] for pair in metrics["comparisons"]), 0)


def to_mlflow(run_dir: Path, target: Path) -> None:
    """Logs the run into an MLflow store below ``target``: options as parameters, scores as metrics, report as artifact."""
    try:
        import mlflow  # type: ignore[import-not-found]
    except ImportError:
        raise PackageMissing("the mirror 'mlflow'", "mlflow") from None
    run, metrics = _judged(run_dir)
    target.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{(target / 'mlflow.db').absolute()}")
    name = f"{run.run['corpus'].get('name')}, {run.run['protocol']}"
    if mlflow.get_experiment_by_name(name) is None:
        mlflow.create_experiment(name, artifact_location=(target / "artifacts").absolute().as_uri())
    mlflow.set_experiment(name)
    with mlflow.start_run(run_name=run.path.name):
        options = {key: str(value)[:500] for key, value in run.run.get("job", {}).items() if value is not None}
        mlflow.log_params({**options, "folds_fingerprint": run.run["folds_fingerprint"]})
        mlflow.log_metrics({name.replace("+", "."): value for name, value in _scores(metrics)})
        for file in ("metrics.json", "report.html", "run.json"):
            if (run.path / file).exists():
                mlflow.log_artifact(str(run.path / file))


def _judged(run_dir: Path) -> tuple[RunDirectory, dict[str, Any]]:
    from ser_fusion.reporting.report import current_metrics

    run = RunDirectory.open(run_dir)
    return run, current_metrics(run)


MIRRORS: dict[str, Callable[[Path, Path], None]] = {"tensorboard": to_tensorboard, "mlflow": to_mlflow}
