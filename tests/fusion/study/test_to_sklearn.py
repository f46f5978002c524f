"""A study as arrays, tables and torch data sets: the same rows, labels, speakers and folds everywhere."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ser_base.errors import UnknownName
from ser_cache import open_cache
from ser_fusion.errors import StreamMissing
from ser_fusion.study.open import open_study
from ser_fusion.study.to_torch import collate_packed, collate_padded


def test_arrays_are_the_pooled_frames(small_cache: Path):
    study = open_study(small_cache)
    X, y, groups, splits = study.to_sklearn()
    assert X.shape == (120, 2 * (16 + 12)) and X.dtype == np.float32
    name = study.table.index[7]
    frames = open_cache(small_cache).select("audio")[name].astype(np.float32)
    assert np.allclose(X[7, :16], frames.mean(axis=0), atol=1e-5) and np.allclose(
        X[7, 16:32], frames.std(axis=0), atol=1e-5
    )
    words = open_cache(small_cache).select("text")[name].astype(np.float32)[1:-1]  # special tokens are left out
    assert np.allclose(X[7, 32:44], words.mean(axis=0), atol=1e-5)
    assert list(y) == list(study.table["label"]) and list(groups) == list(study.table["speaker"])
    assert len(splits) == len(study.folds.folds)
    for (train, test), fold in zip(splits, study.folds.folds, strict=True):
        assert set(study.table.index[test]) == set(fold.test) and set(study.table.index[train]) == set(fold.train)
        assert not set(groups[train]) & set(groups[test])


def test_options_of_arrays(small_cache: Path):
    study = open_study(small_cache)
    assert study.to_sklearn(streams="text", pooling="mean").X.shape == (120, 12)
    assert study.to_sklearn(streams=["audio"], pooling="max").X.shape == (120, 16)
    with_dev = study.to_sklearn(train_on_dev=True).splits
    assert len(with_dev[0][0]) == len(study.folds.folds[0].train) + len(study.folds.folds[0].dev)
    with pytest.raises(StreamMissing, match="video"):
        study.to_sklearn(streams=["video"])
    with pytest.raises(UnknownName, match="stats"):
        study.to_sklearn(pooling="median")


def test_another_layer(corpus, cache_of):
    planted = corpus("both", n=30)
    planted.frames = {**planted.frames, ("audio", 5): [frames * 2 for frames in planted.frames["audio", 2]]}
    path = cache_of(planted)
    study = open_study(path, audio_layer=2)
    own, other = study.to_sklearn(streams="audio").X, study.to_sklearn(streams="audio", layer=5).X
    assert np.allclose(2 * own, other, rtol=2e-3, atol=2e-3)
    assert np.array_equal(study.to_sklearn(layer={"audio": 5}).X[:, :32], other)


def test_scikit_learn_takes_them(small_cache: Path):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    X, y, groups, splits = open_study(small_cache).to_sklearn()
    scores = cross_val_score(LogisticRegression(max_iter=300), X, y, groups=groups, cv=splits)
    assert scores.mean() > 0.9


def test_pandas_and_parquet(small_cache: Path, tmp_path: Path):
    study = open_study(small_cache)
    plain = study.to_pandas()
    assert "class" in plain and "target" not in plain and len(plain) == 120
    parts = plain[f"fold_{study.folds.folds[0].name}"]
    assert set(parts[parts == "test"].index) == set(study.folds.folds[0].test)
    table = study.to_pandas(pooling="stats", streams=["audio"])
    assert [name for name in table if name.startswith("audio.")][16] == "audio.std.0"
    table.to_parquet(tmp_path / "features.parquet")
    again = pd.read_parquet(tmp_path / "features.parquet")
    assert np.allclose(again.filter(regex=r"^audio\.").to_numpy(), study.to_sklearn(streams=["audio"]).X)


def test_torch_map_style(small_cache: Path):
    study = open_study(small_cache)
    dataset = study.to_torch(fold=0, part="train")
    assert len(dataset) == len(study.folds.folds[0].train)
    example = dataset[3]
    assert example.id == study.folds.folds[0].train[3]
    assert study.classes[example.target] == study.table.loc[example.id, "label"]
    stored = open_cache(small_cache).select("audio")[example.id]
    assert torch.equal(example.frames["audio"], torch.from_numpy(stored.astype(np.float32)))
    assert example.content["text"][0].item() is False and example.content["audio"].all()


def test_collates_feed_a_head_and_agree(small_cache: Path):
    from ser_fusion.heads import HEADS
    from ser_fusion.heads.shape import Shape

    study = open_study(small_cache)
    dataset = study.to_torch()
    examples = [dataset[number] for number in (0, 5, 9)]
    packed, padded = collate_packed(examples), collate_padded(examples)
    torch.manual_seed(0)
    head = HEADS["cross"]({"audio": 16, "text": 12}, len(study.classes), Shape()).eval()
    assert packed.ids == tuple(study.table.index[[0, 5, 9]]) and packed.targets.dtype == torch.int64
    with torch.inference_mode():
        assert torch.allclose(head(packed.streams), head(padded.streams), atol=1e-5)


def test_a_loader_with_worker_processes(small_cache: Path):
    from torch.utils.data import DataLoader

    study = open_study(small_cache)
    stream = study.to_torch(iterable=True, buffer=16)
    loader = DataLoader(
        stream, batch_size=16, collate_fn=stream.collate, num_workers=2, multiprocessing_context="spawn"
    )
    seen = [name for batch in loader for name in batch.ids]
    assert sorted(seen) == sorted(study.table.index) and seen != sorted(seen)


def test_stream_order(small_cache: Path):
    study = open_study(small_cache)
    kept = [one.id for one in study.to_torch(iterable=True, buffer=1)]
    assert kept == list(study.table.index)
    stream = study.to_torch(iterable=True, buffer=50, seed=3)
    first, second = [one.id for one in stream], [one.id for one in stream]
    assert sorted(first) == kept and first != kept and first != second  # every pass draws anew
    with pytest.raises(KeyError, match="folds are"):
        study.to_torch(fold="nine")
