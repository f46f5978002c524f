"""Prediction is training's path once more: same posteriors; ensemble, missing text, windows, encoders found again."""

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_extract.errors import EncoderNotFound
from ser_predict import Predictor
from ser_predict.errors import EncoderDiffers, NoModel

Make = Callable[..., Any]


def _stored(small: Any, row: str, fold: str, seed: int) -> pd.DataFrame:
    frame = pd.read_parquet(small.run / "predictions.parquet")
    return frame[(frame["row"] == row) & (frame["fold"] == fold) & (frame["seed"] == seed)].sort_values("id")


def _matrix(predictions: list[Any], classes: tuple[str, ...]) -> np.ndarray:
    return np.array([[one.posteriors[name] for name in classes] for one in predictions])


@pytest.mark.parametrize("row", ["audio", "text", "cross"])
def test_prediction_equals_the_stored_test_predictions(small: Any, predictor: Make, row: str):
    """Two layers with learned weights, stride 2, special tokens: every step of the training's path."""
    folds = sorted(pd.read_parquet(small.run / "predictions.parquet")["fold"].unique())
    for fold, seed in ((folds[0], 0), (folds[2], 1)):
        own = predictor(row=row, fold=fold, seed=seed, calibrate=False)
        stored = _stored(small, own.main.slug, fold, seed)
        rows = {one["id"]: one for one in small.rows}
        files = [str(small.folder / rows[name]["path"]) for name in stored["id"]]
        texts = {file: rows[name]["text"] for file, name in zip(files, stored["id"], strict=True)}
        given = list(own.predict(files, texts))
        assert len(own.main.members) == 1 and [one.error for one in given] == [None] * len(files)
        expected = stored[[f"p_{name}" for name in own.classes]].to_numpy()
        assert np.abs(_matrix(given, own.classes) - expected).max() < 1e-5
        assert [one.best for one in given] == list(stored["predicted"])


def test_the_ensemble_is_the_mean_of_calibrated_members(small: Any, predictor: Make):
    from ser_fusion.evaluation.temperatures import tempered

    both = predictor(row="cross")
    file, text = small.file(0), {small.file(0): small.rows[0]["text"]}
    whole = next(iter(both.predict([file], text)))
    assert len(both.main.members) == 6
    parts = []
    for member in both.main.members:
        one = predictor(row="cross", fold=member.fold, seed=member.seed, calibrate=False)
        raw = _matrix(list(one.predict([file], text)), both.classes)
        assert 0.05 <= member.temperature <= 20
        parts.append(tempered(raw.astype(np.float64), member.temperature)[0])
    assert np.allclose(_matrix([whole], both.classes)[0], np.mean(parts, axis=0), atol=1e-5)
    assert abs(sum(whole.posteriors.values()) - 1) < 1e-9


def test_the_row_is_chosen_on_development_data(small: Any, predictor: Make):
    from ser_fusion.evaluation.metrics import score_fold

    development = pd.read_parquet(small.run / "development.parquet")
    run = json.loads((small.run / "run.json").read_text())
    scores = {
        row: np.mean(
            [score_fold(p["label"], p["predicted"], run["classes"])["UWA"] for _, p in own.groupby(["fold", "seed"])]
        )
        for row, own in development.groupby("row")
    }
    chosen = predictor()
    assert scores[chosen.main.slug] == pytest.approx(max(scores.values()))
    assert chosen.main.uwa == pytest.approx(max(scores.values()))


def test_without_a_transcript_the_audio_heads_predict(small: Any, predictor: Make):
    own = predictor(row="cross")
    given = list(own.predict([small.file(1), small.file(2)], {small.file(1): small.rows[1]["text"]}))
    assert [one.row for one in given] == [own.main.slug, "audio-stats"]
    assert given[1].text is None and given[1].text_source == "none" and given[1].error is None
    assert any("without a transcript" in note for note in own.notes)
    blank = next(
        iter(own.predict([small.file(1)], {small.file(1): "  [LAUGHTER] "}))
    )  # nothing left after normalisation
    assert blank.row == "audio-stats"


def test_without_audio_heads_a_missing_transcript_is_told(small: Any, predictor: Make, tmp_path: Path):
    alone = tmp_path / "run"
    shutil.copytree(small.run, alone)
    shutil.rmtree(alone / "jobs/audio-stats")
    own = Predictor(alone, row="cross", audio_encoder=str(small.audio_encoder), text_encoder=str(small.text_encoder))
    (given,) = own.predict([small.file(1)])
    assert given.error is not None and "transcript is missing" in given.error and "--asr" in given.error


def test_threshold_and_its_reliability(small: Any, predictor: Make):
    sure, doubtful = predictor(row="cross", threshold=0.0), predictor(row="cross", threshold=1.0)
    text = {small.file(3): small.rows[3]["text"]}
    one, other = next(iter(sure.predict([small.file(3)], text))), next(iter(doubtful.predict([small.file(3)], text)))
    assert one.label == one.best and other.label == "unsure" and other.best == one.best
    assert sure.reliability()[0] == 1.0
    share, right = predictor(row="cross", threshold=0.4).reliability()
    development = pd.read_parquet(small.run / "development.parquet")
    assert 0 <= share <= 1 and (np.isnan(right) or 0 <= right <= 1)
    assert len(sure.main.sure[0]) == (development["row"] == sure.main.slug).sum()


def test_long_recordings_go_in_windows(small: Any, predictor: Make, tmp_path: Path):
    import numpy as np

    from ser_predict.recordings.output import draw_timeline, stretches, strip

    loud, quiet = soundfile.read(small.file(0))[0], np.zeros(32_000)
    path = tmp_path / "long.wav"
    soundfile.write(path, np.concatenate([np.tile(loud, 4), quiet, np.tile(loud, 2)]), 16_000)
    own = predictor(row="audio", window=0.8, hop=0.4)
    given = list(own.predict([path], {str(path): "a text for all of it"}))
    seconds = soundfile.info(path).duration
    assert len(given) > 5 and all(one.window for one in given)
    assert given[0].start == 0 and given[-1].end == pytest.approx(seconds)
    assert all(a.start < b.start <= a.end for a, b in pairwise(given))
    silent = [one for one in given if one.error]
    assert silent and all("zero" in one.error for one in silent)
    assert any("its transcript is ignored" in note for note in own.notes)
    borders, values = strip(given, own.classes)
    assert (
        len(values) == len(borders) - 1 and np.isnan(values).any() and np.nanmax(values.sum(axis=1)) == pytest.approx(1)
    )
    found = stretches(given, own.classes, 0.0)
    assert found[0][0] == 0 and found[-1][1] == pytest.approx(seconds) and None in {label for _, _, label, _ in found}
    picture = draw_timeline(given, own.classes, 0.5, tmp_path / "plots" / "long.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_recording_in_which_nobody_speaks_is_quiet_and_not_predicted(small: Any, predictor: Make, tmp_path: Path):
    noise = np.random.default_rng(0).integers(-1, 2, 32_000).astype(np.int16)
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    (one,) = predictor(row="audio").predict([str(tmp_path / "noise.wav")])
    assert one.error is not None and one.error.startswith("quiet: -92 dBFS") and not one.posteriors


def test_windows_follow_the_training(small: Any, predictor: Make):
    from ser_predict.recordings.pieces import like_training

    assert like_training([1.0, 2.0, 3.0, 4.0, 10.0]).cut(14.0) == [(0.0, 14.0)]
    spans = like_training([1.0, 2.0, 3.0, 4.0, 10.0]).cut(20.0)
    assert spans[0] == (0.0, 4.0) and spans[1] == (2.0, 6.0) and spans[-1] == (16.0, 20.0)
    assert like_training([float("nan")]).window == 6.0
    assert predictor(row="audio").windowing.window >= 2.0


def test_encoders_are_found_by_the_command_that_wrote_the_cache(small: Any, tmp_path: Path):
    """Without a hint the recorded name leads nowhere; the cache's own recipe is tried, and its content compared."""
    from ser_cache import Item, create_cache, open_cache

    with pytest.raises(EncoderNotFound, match="--encoder audio=DIR"):
        Predictor(small.run, row="audio", offline=True)
    moved = tmp_path / "cache"
    old = open_cache(small.folder / "cache")
    new = create_cache(moved)
    for info in old.entries():
        option = (
            "--audio-encoder " if info.spec.modality == "audio" else "--encoder text="
        )  # the earlier spelling, and today's
        command = f"ser-extract {option}'{small.folder}/tiny-{info.spec.modality}' --cache x"
        new.writer(info.spec, recipe=command).plan([Item("u00", "hash", 1.0, 1)])
    assert Predictor(small.run, row="cross", cache=moved, offline=True).main.streams == ("audio", "text")


def test_another_encoder_is_refused(small: Any, predictor: Make, tmp_path: Path):
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    conv = {"conv_dim": [24] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    Wav2Vec2Model(Wav2Vec2Config(**size, **conv)).save_pretrained(tmp_path / "other")
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "other")
    with pytest.raises(EncoderDiffers, match=r"weights: trained with xxh3:") as caught:
        predictor(row="audio", audio_encoder=str(tmp_path / "other"))
    assert "--encoder audio=DIR" in str(caught.value)


def test_a_renamed_folder_is_the_same_encoder(small: Any, predictor: Make, tmp_path: Path):
    shutil.copytree(small.audio_encoder, tmp_path / "renamed")
    own = predictor(row="audio", audio_encoder=str(tmp_path / "renamed"))
    assert next(iter(own.predict([small.file(0)]))).error is None


def test_unknown_row_fold_and_seed_say_what_there_is(small: Any, predictor: Make):
    with pytest.raises(NoModel, match="audio-stats, text-stats, cross-stats"):
        predictor(row="gated")
    with pytest.raises(NoModel, match="has no head of fold 9; it has fold"):
        predictor(row="cross", fold="9")
    with pytest.raises(NoModel, match="seed 7"):
        predictor(row="cross", seed=7)


def test_transductive_rows_are_refused(small: Any, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(small.run, copy)
    run = json.loads((copy / "run.json").read_text())
    run["rows"] = [{**row, "transductive": row["kind"] == "head"} for row in run["rows"]]
    (copy / "run.json").write_text(json.dumps(run))
    with pytest.raises(NoModel, match="same speaker"):
        Predictor(copy)
    with pytest.raises(NoModel, match="same speaker"):
        Predictor(copy, row="audio")


def test_heads_that_read_video_are_left_out_or_refused(small: Any, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(small.run, copy)

    def reading_video(*slugs: str) -> None:
        for path in [path for slug in slugs for path in copy.glob(f"jobs/{slug}/*/head.json")]:
            card = json.loads(path.read_text())
            path.write_text(json.dumps(card | {"dims": card["dims"] | {"video": 8}}))

    places = {"audio_encoder": str(small.audio_encoder), "text_encoder": str(small.text_encoder)}
    reading_video("cross-stats")
    with pytest.raises(NoModel, match="'cross-stats' reads video, which is missing") as caught:
        Predictor(copy, row="cross-stats", **places)
    assert "Trained heads there: audio-stats, text-stats." in str(caught.value)
    own = Predictor(copy, **places)
    assert own.main.slug in ("audio-stats", "text-stats")
    assert own.notes[0] == "rows left out because they read video, which is missing (ser predict --video): 1"
    assert all("the posteriors are not calibrated" in note for note in own.notes[1:])
    reading_video("audio-stats", "text-stats")
    with pytest.raises(NoModel, match="all of its heads read video"):
        Predictor(copy, **places)


def test_the_run_stands_alone(small: Any, predictor: Make, tmp_path: Path):
    """Neither the cache nor the corpus is needed any more."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(small.run, copy)
    run = json.loads((copy / "run.json").read_text())
    run["cache"]["path"] = str(tmp_path / "gone")
    (copy / "run.json").write_text(json.dumps(run))
    places = {"audio_encoder": str(small.audio_encoder), "text_encoder": str(small.text_encoder)}
    own = Predictor(copy, row="cross", fold=None, **places)
    text = {small.file(0): small.rows[0]["text"]}
    same = next(iter(predictor(row="cross").predict([small.file(0)], text)))
    assert next(iter(own.predict([small.file(0)], text))).posteriors == pytest.approx(same.posteriors)
