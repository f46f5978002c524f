"""Hand-crafted features on the whole way: extracted beside an encoder, fused, and computed again from a new recording."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ser_extract.job import ExtractJob
from ser_extract.run import run as extract
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.runs.run import gather
from ser_fusion.study.open import open_study
from ser_predict import Predictor


@pytest.fixture(scope="module")
def fused(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on prosody and text of the small corpus, three folds, one seed."""
    folder = tmp_path_factory.mktemp("prosody")
    table = pd.DataFrame([row | {"path": small.file(number)} for number, row in enumerate(small.rows)])
    table.to_csv(folder / "corpus.csv", index=False)
    cache = folder / "cache"
    extract(
        ExtractJob(
            corpus="csv", root=folder / "corpus.csv", cache=cache, workers=0, device="cpu",
            modalities=("text", "prosody"), encoder=f"text={small.text_encoder},prosody=acoustic", layer="1",
        )
    )  # fmt: skip
    job = FuseJob(
        cache=cache, out=folder / "run", fusion=("prosody", "cross"), layer=1, epochs=2, workers=0, device="cpu", stride=4
    )  # fmt: skip
    prepared = prepare(job)
    train_all(prepared)
    gather(job.out, prepared.tasks, [])
    return job.out


@pytest.mark.parametrize("row", ["prosody", "cross"])
def test_prediction_equals_the_stored_test_predictions(row: str, small: Any, fused: Path) -> None:
    stored = pd.read_parquet(fused / "predictions.parquet")
    stored = stored[stored["row"] == f"{row}-stats"]
    fold = stored["fold"].iloc[0]
    stored = stored[stored["fold"] == fold].sort_values("id")
    own = Predictor(
        fused, row=row, fold=fold, calibrate=False, device="cpu", offline=True, text_encoder=str(small.text_encoder)
    )
    rows = {line["id"]: line for line in small.rows}
    files = [str(small.folder / rows[name]["path"]) for name in stored["id"]]
    texts = {file: rows[name]["text"] for file, name in zip(files, stored["id"], strict=True)}
    given = list(own.predict(files, texts))
    assert [line.error for line in given] == [None] * len(files)
    posteriors = np.array([[line.posteriors[name] for name in own.classes] for line in given])
    expected = stored[[f"p_{name}" for name in own.classes]].to_numpy()
    assert np.abs(posteriors - expected).max() < 1e-5


def test_a_layer_of_the_encoders_leaves_prosody_alone(fused: Path) -> None:
    study = open_study(fused.parent / "cache", layer=1, prosody_encoder="acoustic")
    assert {name: entry.spec.layer for name, entry in study.streams.items()} == {"text": 1, "prosody": 0}
    X, *_ = study.to_sklearn(streams=["prosody"])
    assert X.shape == (len(study.table), 2 * 56)
