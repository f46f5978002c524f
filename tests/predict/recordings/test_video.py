"""Prediction with pictures: the path of the training, and what stands in where there are none."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("av", reason="video needs PyAV: pip install 'ser-fusion[video]'")

from ser_data.synthetic.clips import draw, write_video
from ser_predict import Predictor
from ser_predict.errors import NoModel

LABELS = ("happy", "sad", "neutral")
LACKING = "u07"


@pytest.fixture(scope="module")
def seeing(small: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small corpus with clips that show the label, one without; a run with three streams, three folds, one seed."""
    import json

    import torch
    from transformers import ViTConfig, ViTModel

    from ser_extract.job import ExtractJob
    from ser_extract.run import run as extract
    from ser_fusion.runs.job import FuseJob
    from ser_fusion.runs.prepare import prepare, train_all
    from ser_fusion.runs.run import gather

    folder = tmp_path_factory.mktemp("seeing")
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    ViTModel(ViTConfig(**size, image_size=32, patch_size=8)).save_pretrained(folder / "tiny-vision")
    (folder / "tiny-vision" / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 32, "width": 32}}))
    (folder / "clips").mkdir()
    rows = []
    for number, row in enumerate(small.rows):
        clip = folder / "clips" / f"{row['id']}.mp4"
        pictures = [draw((32, 48), LABELS.index(row["label"]), 3, (number + t) / 9) for t in range(8 + number % 5)]
        if row["id"] != LACKING:
            write_video(clip, pictures, 10)
        rows.append(row | {"path": small.file(number), "video_path": str(clip) if row["id"] != LACKING else ""})
    with (folder / "corpus.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    extract(
        ExtractJob(
            corpus="csv", root=folder / "corpus.csv", cache=folder / "cache", workers=0, device="cpu", fps=5.0,
            modalities=("audio", "text", "video"), audio_encoder=str(small.audio_encoder),
            text_encoder=str(small.text_encoder), video_encoder=str(folder / "tiny-vision"),
        )
    )  # fmt: skip
    job = FuseJob(
        cache=folder / "cache",
        out=folder / "run",
        fusion=("audio", "cross"),
        epochs=3,
        workers=0,
        device="cpu",
        stride=2,
    )
    prepared = prepare(job)
    train_all(prepared)
    gather(job.out, prepared.tasks, [])
    return {"run": job.out, "clips": folder / "clips", "vision": folder / "tiny-vision"}


def places(small: Any, seeing: dict[str, Path]) -> dict[str, Any]:
    found = {
        "audio_encoder": small.audio_encoder,
        "text_encoder": small.text_encoder,
        "video_encoder": seeing["vision"],
    }
    return {name: str(path) for name, path in found.items()} | {"device": "cpu", "offline": True}


def test_prediction_equals_the_stored_test_predictions(small: Any, seeing: dict[str, Path]):
    """Three streams, one utterance of the fold without a video: every step of the training's path."""
    stored = pd.read_parquet(seeing["run"] / "predictions.parquet")
    stored = stored[stored["row"] == "cross-stats"]
    fold = stored.loc[stored["id"] == LACKING, "fold"].iloc[0]
    stored = stored[stored["fold"] == fold].sort_values("id")
    own = Predictor(seeing["run"], row="cross", fold=fold, calibrate=False, video=True, **places(small, seeing))
    rows = {row["id"]: row for row in small.rows}
    files = [str(small.folder / rows[name]["path"]) for name in stored["id"]]
    texts = {file: rows[name]["text"] for file, name in zip(files, stored["id"], strict=True)}
    videos = {file: str(seeing["clips"] / f"{name}.mp4") for file, name in zip(files, stored["id"], strict=True)}
    videos = {file: video for file, video in videos.items() if Path(video).exists()}
    assert len(videos) == len(files) - 1
    given = list(own.predict(files, texts, videos))
    assert [one.error for one in given] == [None] * len(files)
    posteriors = np.array([[one.posteriors[name] for name in own.classes] for one in given])
    expected = stored[[f"p_{name}" for name in own.classes]].to_numpy()
    assert np.abs(posteriors - expected).max() < 1e-5
    assert any("without a video are predicted without pictures" in note for note in own.notes)


def test_broken_videos_are_told_and_no_video_is_refused_by_name(small: Any, seeing: dict[str, Path], tmp_path: Path):
    own = Predictor(seeing["run"], row="cross", video=True, **places(small, seeing))
    (tmp_path / "text.mp4").write_text("no video at all")
    file = small.file(0)
    (line,) = own.predict([file], {file: "so very good"}, {file: str(tmp_path / "text.mp4")})
    assert line.label is None and "its video cannot be used" in (line.error or "") and "text.mp4" in (line.error or "")
    with pytest.raises(NoModel, match="'cross' reads video, which is missing"):
        Predictor(seeing["run"], row="cross", **places(small, seeing))


def test_the_command_pairs_recordings_and_videos_by_name(small: Any, seeing: dict[str, Path], tmp_path: Path):
    import json

    from click.testing import CliRunner

    from ser_predict.recordings.cli import predict as command

    options = [
        f"--{name.replace('_', '-')}={path}" for name, path in places(small, seeing).items() if "encoder" in name
    ]
    words = "\n".join(f"{small.file(k)},{small.rows[k]['text']}" for k in (0, 7))
    (tmp_path / "words.csv").write_text(f"path,text\n{words}\n")
    options += [f"--transcripts={tmp_path / 'words.csv'}", "--row=cross", "--format=jsonl", "--offline", "--device=cpu"]
    asked = [str(seeing["run"]), small.file(0), small.file(7), *options]
    done = CliRunner().invoke(command, [*asked, f"--video={seeing['clips']}"])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["row"] for line in lines] == ["cross-stats"] * 2
    assert "without a video are predicted without pictures" in done.output, "u07 has none"
    wrong = CliRunner(env={"COLUMNS": "500"}).invoke(command, [*asked, f"--video={seeing['clips'] / 'u00.mp4'}"])
    assert wrong.exit_code == 2 and "Give a folder of videos" in wrong.output
