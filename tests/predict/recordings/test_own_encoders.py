"""Prediction of a run whose speech encoder is a class of the user's, and whose text encoder runs on the generic engine."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ser_extract.errors import EncoderBroken
from ser_predict import Predictor
from ser_predict.errors import EncoderDiffers

MODULE = """
import numpy as np


class Swell:
    name, modality, layers, features = "lab/swell", "audio", 1, 3
    rate, frame_rate, shortest = 8_000, 50.0, 160
    identity = {"version": 1}

    def __init__(self, device):
        pass

    def frames(self, waveform):
        parts = waveform[: len(waveform) // 160 * 160].reshape(-1, 160)
        return np.stack([parts.std(1), np.abs(parts).max(1), parts.mean(1)], 1)[None]
"""
SWELL = "ser_swell:Swell"


@pytest.fixture(scope="module")
def own(
    tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Any], save_albert: Callable[[Path], Path]
) -> Iterator[Any]:
    """12 utterances of two speakers, one head, one epoch."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "ser_swell.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    yield make_run(
        folder,
        SWELL,
        str(save_albert(folder / "albert")),
        12,
        {},
        fusion=("cross",),
        epochs=1,
        protocol="speaker",
        dev="none",
    )
    sys.path.remove(str(folder))


def test_predictions_are_those_of_the_run(own: Any):
    predictor = Predictor(
        own.run, audio_encoder=SWELL, text_encoder=str(own.text_encoder), device="cpu", offline=True, fold="s0",
        seed=0, calibrate=False,
    )  # fmt: skip
    stored = pd.read_parquet(own.run / "predictions.parquet")
    stored = stored[stored["fold"] == "s0"].sort_values("id")
    rows = {row["id"]: row for row in own.rows}
    files = [str(own.folder / rows[name]["path"]) for name in stored["id"]]
    texts = {file: rows[name]["text"] for file, name in zip(files, stored["id"], strict=True)}
    given = [[one.posteriors[name] for name in predictor.classes] for one in predictor.predict(files, texts)]
    expected = stored[[f"p_{name}" for name in predictor.classes]].to_numpy()
    assert len(files) == 6 and np.abs(np.array(given) - expected).max() < 1e-5


def test_a_run_never_names_code(own: Any):
    with pytest.raises(EncoderBroken, match=f"Give --encoder audio={SWELL}"):
        Predictor(own.run, text_encoder=str(own.text_encoder), device="cpu", offline=True)


def test_another_identity_is_refused(own: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "ser_swell_2.py").write_text(MODULE.replace('"version": 1', '"version": 2'))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EncoderDiffers, match="identity"):
        Predictor(own.run, audio_encoder="ser_swell_2:Swell", device="cpu", offline=True)
