"""A third stream that some utterances lack: they take part without it, and every head reads the three."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ser_cache import EntrySpec, Item, Row, open_cache
from ser_cache.items import Failure
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.run import run
from ser_fusion.study.open import open_study

N = 120


def add_video(path: Path, corpus: Any, lacking: dict[str, str]) -> dict[str, np.ndarray]:
    """Writes a stream of pictures that carry the label; who lacks it has a row without frames, or has failed."""
    draw = np.random.default_rng(7)
    rows = {}
    for name, label in zip(corpus.ids(), corpus.labels, strict=True):
        frames = draw.normal(size=(int(draw.integers(1, 9)), 8)).astype(np.float16)
        frames[:, int(label[-1])] += 3.0
        rows[name] = frames
    spec = EntrySpec(
        modality="video", encoder="planted/video", layer=4, dtype="float16", features=8, frame_rate=2.0, declared={}
    )
    writer = open_cache(path).writer(spec)
    writer.plan([Item(name, lacking.get(name, f"v{name}"), 1.0, len(values)) for name, values in rows.items()])
    for shard in writer.pending():
        good = [item.id for item in shard.items if lacking.get(item.id, "none") == "none"]
        failed = {item.id: Failure(lacking[item.id]) for item in shard.items if item.id not in good}
        made = [Row(name, rows[name] if name not in lacking else rows[name][:0]) for name in good]
        writer.commit(shard, made, failed, {})
    return rows


@pytest.fixture
def three(corpus: Callable[..., Any], cache_of: Callable[..., Path]) -> Path:
    """120 utterances with noise as audio and text, and pictures that tell; 10 lack them, in three ways."""
    made = corpus("none", n=N)
    path = cache_of(made)
    names = made.ids()
    add_video(
        path, made, {**dict.fromkeys(names[:6], "none"), **dict.fromkeys(names[6:9], "truncated"), names[9]: "codec"}
    )
    return path


def test_who_lacks_a_video_keeps_audio_and_text(three: Path):
    study = open_study(three)
    assert list(study.streams) == ["audio", "text", "video"]
    assert len(study.table) == N and study.failed == 0 and study.masked == {"video": 10}
    assert "10 of 120 utterances take part without video (codec 1, none 6, truncated 3)" in study.notes
    lengths = study.streams["video"].lengths(list(study.table.index))
    assert (lengths == 0).sum() == 10 and not study.pooled("video")[lengths == 0].any()
    assert study.pooled("video")[lengths > 0].any(1).all()
    other = open_study(three, modalities=("audio", "text"))
    assert other.masked == {} and len(other.table) == N
    assert study.data_fingerprint != other.data_fingerprint


def test_the_stride_leaves_the_few_frames_of_a_video(three: Path):
    from ser_fusion.frames.features import read_stream

    study = open_study(three)
    ids = list(study.table.index)
    video, audio = (read_stream(study.layers[name], ids, stride=4) for name in ("video", "audio"))
    assert (video.frame_rate, audio.frame_rate) == (2.0, 12.5)
    assert video.lengths.tolist() == study.streams["video"].lengths(ids).tolist()


def test_of_video_alone_who_has_none_is_left_out(three: Path):
    study = open_study(three, modalities=("video",))
    assert len(study.table) == N - 10 and study.failed == 10
    assert set(study.excluded["reason"]) == {"video: none", "video: truncated", "video: codec"}


def test_heads_train_on_three_streams_and_predict_who_lacks_one(three: Path, tmp_path: Path):
    """That every head takes three streams, and one that some lack, is in test_contract.py."""
    heads = ("text", "video", "cross", "late-average")
    job = FuseJob(cache=three, out=tmp_path / "run", fusion=heads, epochs=8, workers=0, lr=3e-3, stride=2, batch=16)
    assert run(job).failed == 0
    scores = pd.read_parquet(job.out / "predictions.parquet")
    right = (scores["label"] == scores["predicted"]).groupby(scores["row"]).mean()
    assert all(right[f"{name}-stats"] > 0.6 for name in heads[1:]), right.to_dict()
    assert right["text-stats"] < 0.5, right.to_dict()
    assert (scores["row"] == "cross-stats").sum() == N, "who lacks a video is predicted, too"
    start = json.loads((job.out / "run.json").read_text())
    assert start["counts"]["masked"] == {"video": 10}
    assert any("take part without video" in note for note in start["notes"])


def test_a_video_layer_and_encoder_of_its_own(three: Path):
    from ser_cache import CacheError

    assert (
        open_study(three, layer="last", video_layer=4, video_encoder="planted/video").streams["video"].spec.layer == 4
    )
    with pytest.raises(CacheError):
        open_study(three, layer="last", video_layer=3)


def test_rows_without_frames_survive_a_process(three: Path):
    import pickle

    entry = open_cache(three).select(modality="video").with_empty(["new", "u00010"])
    assert "new" in entry and entry["new"].shape == (0, 8) and entry.special("new") is None
    assert entry.frames("u00010") > 0, "who has a row keeps it"
    copy = pickle.loads(pickle.dumps(entry))
    ragged = copy.gather(["new", "u00010", "u00000"])
    assert [len(ragged[k]) for k in range(3)] == [0, entry.frames("u00010"), 0]
    assert dict(entry.environment("new")) == {}
