"""Judges ratings: those of ``--task vad`` alone, and those learned beside classes. Writes ``vad.md`` and plain data."""

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ser_base.files import replacing, write_json
from ser_fusion.evaluation.parts import parts_of
from ser_fusion.evaluation.probes import standardise
from ser_fusion.evaluation.rating_metrics import DEFINITIONS, long_frame, summarise_ratings
from ser_fusion.evaluation.run_metrics import finite
from ser_fusion.reporting.formats import markdown
from ser_fusion.runs.finished import Outcome
from ser_fusion.runs.prepare import Prepared
from ser_fusion.study.data import Pooled

if TYPE_CHECKING:
    from ser_fusion.runs.listener import Listener
    from ser_fusion.study.open import Study


# What every table of ratings carries for free: the training mean, and a ridge regression on time means.
#
# Untuned: the ridge's penalty is the number of training utterances times 0.1 on standardised features.
PENALTY = 0.1


def rating_references(
    study: "Study", ratings: np.ndarray, features: Pooled
) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Reference rows on the heads' own folds, as pairs of row information and test predictions.

    Args:
        study: Utterances and folds.
        ratings: (utterances, dimensions), NaN where there is none.
        features: ``ser_fusion.study.data.stream_features(study)``.
    """
    ids = study.table.index.to_numpy()
    inputs: dict[str, np.ndarray | None] = {"mean": None}
    inputs |= {f"ridge-{name}": values for name, values in features["mean"].items()}
    if len(features["mean"]) > 1:
        inputs["ridge-concatenation"] = np.concatenate(list(features["mean"].values()), axis=1)
    rows = []
    for slug, values in inputs.items():
        frames = []
        for part in parts_of(study.table.index, study.folds.folds):
            predicted = np.stack([_predict(values, part, ratings[:, d]) for d in range(ratings.shape[1])], axis=1)
            frames.append(
                long_frame(slug, ids[part.test], part.name, 0, predicted.astype(np.float32), ratings[part.test])
            )
        name, _, stream = slug.partition("-")
        title = "Training mean" if name == "mean" else f"Ridge ({stream})"
        rows.append(({"name": title, "slug": slug, "kind": "reference", "note": _note(name)}, pd.concat(frames)))
    return rows


def _note(name: str) -> str:
    if name == "mean":
        return "the mean rating of the training part: CCC 0 by construction"
    return f"ridge regression on the time mean, penalty {PENALTY} per training utterance"


def _predict(values: np.ndarray | None, part: Any, ratings: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import Ridge

    train = part.train[np.isfinite(ratings[part.train])]
    if values is None or len(train) < 2:
        return np.full(len(part.test), ratings[train].mean() if len(train) else np.nan)
    x_train, x_test = standardise(values[train], values[part.test])
    return Ridge(alpha=PENALTY * len(train)).fit(x_train, ratings[train]).predict(x_test)


# Judges ratings: those of ``--task vad`` alone, and those learned beside classes. Writes ``vad.md`` and plain data.
def judge_ratings(prepared: Prepared, features: Any, *, name: str) -> tuple[dict[str, Any], list[pd.DataFrame]]:
    """Scores the predicted ratings of all trainings, beside the reference rows.

    Args:
        prepared: The run; all of its trainings are done.
        features: ``stream_features`` of its study.
        name: File of the predictions in a job's folder: ``test`` or ``ratings``.

    Returns:
        The predictions of every row, and ``task``, ``dimensions``, ``definitions``, ``rows`` (name, slug, kind, note, ``scores``; see ``summarise_ratings``).
    """
    job, study, job_data = prepared.job, prepared.study, prepared.job_data
    assert job_data.ratings is not None
    references = rating_references(study, job_data.ratings[: job_data.scored], features)
    rows: list[dict[str, Any]] = []
    frames: list[pd.DataFrame] = []
    for row in prepared.rows:
        folders = [task.folder for task in prepared.tasks if task.row.slug == row.slug]
        frames.append(pd.concat([pd.read_parquet(job.out / folder / f"{name}.parquet") for folder in folders]))
        rows.append({"name": row.name, "slug": row.slug, "kind": "head", "note": ""})
    for info, frame in references:
        rows.append(info)
        frames.append(frame)
    for info, frame in zip(rows, frames, strict=True):
        info["scores"] = summarise_ratings(frame, job_data.dimensions)
    result = {
        "format": 1,
        "task": "vad",
        "corpus": study.info.title,
        "protocol": study.folds.protocol,
        "folds": len(study.folds.folds),
        "seeds": list(job.seeds),
        "dimensions": list(job_data.dimensions),
        "definitions": DEFINITIONS,
        "rows": rows,
    }
    clean: dict[str, Any] = finite(result)
    with replacing(job.out / "vad.md") as scratch:
        scratch.write_text(markdown(clean), encoding="utf-8")
    return clean, frames


def judge_beside(prepared: Prepared, features: Any) -> None:
    """Ratings learned beside classes: ``vad.json``, which becomes the key ``vad`` of ``metrics.json``, and ``vad.md``."""
    result, _ = judge_ratings(prepared, features, name="ratings")
    write_json(prepared.job.out / "vad.json", result)


def judge_alone(prepared: Prepared, listener: "Listener", workers: int) -> Outcome:
    """``--task vad``: ``metrics.json``, ``vad.md``, ``predictions.parquet``, and a ``run.json`` that is finished."""
    from ser_fusion.runs.memory import record
    from ser_fusion.study.data import stream_features

    out, study = prepared.job.out, prepared.study
    listener.step("reference rows")
    features = stream_features(study)
    listener.step("evaluation")
    result, frames = judge_ratings(prepared, features, name="test")
    with replacing(out / "predictions.parquet") as scratch:
        pd.concat(frames, ignore_index=True).to_parquet(scratch, index=False)
    spent = {"seconds": round(time.perf_counter() - prepared.began, 1), "workers": workers}
    record(out, {**prepared.start, "finished": True, **spent})
    write_json(out / "metrics.json", result)
    results: dict[str, Any] = {"metrics": result, "report": out / "vad.md", "left_out": prepared.left_out}
    return Outcome(out=out, remaining=0, failed=study.failed, **results)
