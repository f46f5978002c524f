"""The norm of pooled vectors, and a training of fixed length: what counts, what is measured, what decides nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_fusion.frames.features import StreamFrames, read_stream
from ser_fusion.frames.feed import Feed
from ser_fusion.heads.model import Model
from ser_fusion.heads.pool_norm import PoolNorm, settle_moments
from ser_fusion.heads.shape import Shape
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.planning import fold_parts, plan_of
from ser_fusion.runs.tuning.search import with_settings
from ser_fusion.study.open import Study, open_study
from ser_fusion.training.plan import Plan, TrainingData
from ser_fusion.training.presets import (
    CORRECTED,
    EARLY_STOPPING,
    EPOCHS,
    PRESETS,
    STEPS,
    STOPPED_EPOCHS,
    Training,
    fixed_epochs,
)
from ser_fusion.training.train import train

Data = tuple[Study, dict[str, StreamFrames]]
STREAMS = ("audio", "text")


@pytest.fixture(scope="module")
def data(small_cache: Path) -> Data:
    study = open_study(small_cache)
    return study, {name: read_stream(study.layers[name], list(study.table.index)) for name in study.streams}


def plan(**changes: Any) -> Plan:
    base = Plan(
        fusion="self", streams=STREAMS, shape=Shape(width=16, pool_norm="batch"), training=CORRECTED.training, dropouts=(),
        normalise=True, pad_to={}, classes=3, epochs=2, select="uwa", class_weights="none", seed=(0, 0),
    )  # fmt: skip
    return replace(base, **changes)


def same(one: Model, other: Model) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_utterances_without_the_stream_do_not_count_and_are_zero() -> None:
    vectors, heard = torch.randn(6, 4), torch.tensor([True, False, True, True, False, True])
    alone, among = PoolNorm(4), PoolNorm(4)
    dirty = torch.where(heard.unsqueeze(1), vectors, 1e6)
    expected = alone.train()(vectors[heard], torch.ones(4, dtype=torch.bool))
    for evaluated in (False, True):
        if evaluated:
            alone.eval(), among.eval()
            expected = alone(vectors[heard], torch.ones(4, dtype=torch.bool))
        out = among(dirty, heard)
        torch.testing.assert_close(out[heard], expected)
        assert not out[~heard].any()
    assert torch.equal(alone.running_mean, among.running_mean) and torch.equal(alone.running_var, among.running_var)


@pytest.mark.parametrize("heard", [[False, False, False], [False, True, False]])
def test_one_utterance_has_no_moments(heard: list[bool]) -> None:
    norm = PoolNorm(4).train()
    norm.running_mean += 1.0
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    vectors = torch.randn(3, 4, requires_grad=True)
    out = norm(vectors, torch.tensor(heard))
    out.sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(vectors.grad).all()
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert torch.equal(out.detach(), PoolNorm.forward(norm.eval(), vectors, torch.tensor(heard)).detach())


def test_moments_are_those_of_the_training_part_with_the_weights_that_are_kept(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    model = train(plan(), TrainingData(streams, study.targets), parts).model
    seen: dict[str, list[torch.Tensor]] = {}
    for name, norm in model.named_modules():
        if isinstance(norm, PoolNorm):
            norm.register_forward_hook(lambda _, __, out, name=name: seen.setdefault(name, []).append(out))
    feed = Feed(streams, STREAMS)
    for rows in parts["train"].reshape(4, -1):
        model(feed.batch(rows))
    assert len(seen) == 2
    for vectors in map(torch.cat, seen.values()):
        torch.testing.assert_close(vectors.mean(0), torch.zeros(32), atol=1e-4, rtol=0)
        torch.testing.assert_close(vectors.std(0, correction=0), torch.ones(32), atol=1e-2, rtol=0)


def test_a_feature_that_does_not_vary_is_zero_whatever_comes(data: Data) -> None:
    study, streams = data
    model = Model(
        "concat", {s: streams[s].features for s in STREAMS}, dict.fromkeys(STREAMS, 1), 3, plan().shape, False
    )
    with torch.no_grad():
        model.head.project.linear["audio"].weight[0] = 0.0
    settle_moments(model, Feed(streams, STREAMS), fold_parts(study, 0)["train"])
    norm = model.head.readout.pool.norms["audio"]
    out = norm(torch.full((1, 32), 7.0), torch.ones(1, dtype=torch.bool))
    assert out[0, 0] == out[0, 16] == 0 and out[0, 1] != 0 and torch.isfinite(out).all()


@pytest.mark.parametrize(("utterances", "sizes"), [(33, {16, 17}), (32, {32}), (1, {1}), (65, {21, 22})])
def test_batches_are_of_equal_size(data: Data, utterances: int, sizes: set[int]) -> None:
    """33 utterances are not 32 and one, whose own moments would be nothing."""
    study, streams = data
    parts = fold_parts(study, 0)
    rows = np.concatenate([parts["train"], parts["dev"]])[:utterances]
    seen: list[list[int]] = []
    own, nothing = {"audio": streams["audio"]}, rows[:0]  # one stream, so that a batch is read once
    done = train(
        replace(plan(epochs=1), streams=("audio",), fusion="audio"),
        TrainingData(own, study.targets),
        {"train": rows, "dev": nothing, "test": nothing},
        on_read=lambda read: seen.append(read.tolist()),
    )
    del seen[0]  # mean and deviation of the inputs
    count = -(-utterances // 32)
    assert {len(part) for part in seen[:count]} == sizes
    assert sorted(row for part in seen[:count] for row in part) == sorted(rows.tolist())
    assert all(torch.isfinite(p).all() for p in done.model.parameters())


def test_a_fixed_length_asks_the_development_part_nothing(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    done = train(plan(epochs=None), TrainingData(streams, study.targets), parts)
    assert done.best_epoch == len(done.curve) == fixed_epochs(len(parts["train"]), 32)
    wrong = study.targets
    wrong[parts["dev"]] = (wrong[parts["dev"]] + 1) % 3
    assert same(done.model, train(plan(epochs=None), TrainingData(streams, wrong), parts).model)
    assert "dev_uwa" in done.curve[0]


@pytest.mark.parametrize("fusion", ["self", "late-calibrated"])
def test_refitting_is_the_same_training_on_more(data: Data, fusion: str) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    usual, again = (
        train(plan(fusion=fusion, refit=flag), TrainingData(streams, study.targets), parts) for flag in (False, True)
    )
    both = {**parts, "train": np.sort(np.concatenate([parts["train"], parts["dev"]])), "dev": parts["dev"][:0]}
    alone = train(plan(fusion=fusion), TrainingData(streams, study.targets), both)
    assert np.array_equal(usual.dev, again.dev)  # temperatures and stacking weights are from the first training
    alone.model.head.calibrate_like(usual.model.head)
    assert same(again.model, alone.model) and not same(again.model, usual.model)


def test_the_length_is_in_steps() -> None:
    assert fixed_epochs(832, 32) == fixed_epochs(9_989, 32) == EPOCHS
    for utterances in (1, 33, 100, 260):
        epochs = fixed_epochs(utterances, 32)
        assert epochs * -(-utterances // 32) >= STEPS > (epochs - 1) * -(-utterances // 32)


def job(**options: Any) -> FuseJob:
    return FuseJob(**{"cache": "c", "out": "o", "fusion": ("self",), **options})


def planned(study: Study, **options: Any) -> Plan:
    asked = job(**options)
    return plan_of(asked, study, asked.rows(STREAMS)[0], STREAMS, "cpu")


def test_presets_that_stop_early_still_do(data: Data) -> None:
    study, _ = data
    for name in ("as-found", "s3prl-er", "emobox"):
        plan = planned(study, preset=(name,), fusion=("audio",))
        assert plan.training == PRESETS[name].training and plan.training.patience and not plan.refit
        assert (plan.shape.frame_dropout, plan.shape.pool_dropout, plan.shape.pool_norm) == (0.0, 0.0, "none")
    usual, stopped = planned(study), planned(study, early_stopping=True)
    assert usual.training.patience is None and usual.refit and usual.epochs is None
    assert stopped.training == EARLY_STOPPING and not stopped.refit and stopped.shape == usual.shape
    assert planned(study, early_stopping=True, refit=True).refit and not planned(study, refit=False).refit
    with pytest.raises(ValueError, match="Give --early-stopping as well"):
        job(patience=3)


def test_what_earlier_versions_wrote_reads_as_it_was_meant(data: Data) -> None:
    study, _ = data
    old = Shape.read({"width": 16, "dropout": 0.4, "stream_dropout": 0.3})
    assert old == Shape(width=16, frame_dropout=0.4, pool_dropout=0.4, pool_norm="none", stream_dropout=0.3)
    assert Shape.read(old.as_dict()) == old
    changed = with_settings(plan(), {"dropout": 0.2, "lr": 1e-3})
    assert changed.shape == replace(plan().shape, frame_dropout=0.2, pool_dropout=0.2, pool_norm="none")
    assert with_settings(plan(), {"dropout": None}) == plan()  # trial 0: the row's own
    written = {**job().model_dump(mode="json"), "epochs": 50, "refit": False, "dropout": []}
    for name in ("frame_dropout", "pool_dropout", "pool_norm", "early_stopping", "norm_first"):
        del written[name]
    before = planned(study, **written)
    assert before.shape == Shape(frame_dropout=0.5, pool_dropout=0.5, stream_dropout=0.3)
    assert before.training == Training(lr=5e-4, average=0.99) and before.epochs == STOPPED_EPOCHS and not before.refit
    given = planned(study, **{**written, "dropout": [0.1], "fusion": ["audio"]})
    assert given.shape == Shape(frame_dropout=0.1, pool_dropout=0.1)
    assert planned(study, **{**written, "preset": ["as-found"]}).training == PRESETS["as-found"].training
