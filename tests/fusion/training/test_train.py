"""The training loop: deterministic, honest about its parts, and the same on both engines."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_fusion.frames.features import StreamFrames, read_stream
from ser_fusion.frames.feed import Feed
from ser_fusion.heads.model import load_model
from ser_fusion.heads.shape import Shape
from ser_fusion.runs.planning import fold_parts
from ser_fusion.study.open import Study, open_study
from ser_fusion.training.plan import Plan, TrainingData
from ser_fusion.training.presets import Training
from ser_fusion.training.schedule import Schedule
from ser_fusion.training.scoring import posteriors
from ser_fusion.training.train import train

Data = tuple[Study, dict[str, StreamFrames]]


@pytest.fixture(scope="module")
def data(small_cache: Path) -> Data:
    study = open_study(small_cache)
    return study, {name: read_stream(study.layers[name], list(study.table.index)) for name in study.streams}


def plan(**changes: Any) -> Plan:
    base = Plan(
        fusion="cross",
        streams=("audio", "text"),
        shape=Shape(width=16, frame_dropout=0.1, pool_dropout=0.1),
        training=Training(patience=3),
        dropouts=(),
        normalise=True,
        pad_to={},
        classes=3,
        epochs=4,
        select="uwa",
        class_weights="none",
        seed=(0, 0),
    )
    return replace(base, **changes)


def test_one_seed_one_result(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    first = train(plan(), TrainingData(streams, study.targets), parts)
    torch.rand(7)  # whatever else draws in between
    again = train(plan(), TrainingData(streams, study.targets), parts)
    other = train(plan(seed=(1, 0)), TrainingData(streams, study.targets), parts)
    assert np.array_equal(first.test, again.test) and np.array_equal(first.dev, again.dev)
    strip = [{k: v for k, v in point.items() if k != "seconds"} for point in first.curve]
    assert strip == [{k: v for k, v in point.items() if k != "seconds"} for point in again.curve]
    assert not np.array_equal(first.test, other.test)


def test_the_test_part_decides_nothing(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    honest = train(plan(), TrainingData(streams, study.targets), parts)
    wrong = study.targets
    wrong[parts["test"]] = (wrong[parts["test"]] + 1) % 3
    blind = train(plan(), TrainingData(streams, wrong), parts)
    for name, value in honest.model.state_dict().items():
        assert torch.equal(value, blind.model.state_dict()[name]), name
    assert not [name for name in honest.curve[0] if name.startswith("test")]


def test_the_test_part_is_touched_once_at_the_end(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    read: list[set[int]] = []  # a batch of two streams is read twice
    train(
        plan(epochs=3),
        TrainingData(streams, study.targets),
        parts,
        on_read=lambda rows: read.append(set(rows.tolist())),
    )
    asked = [rows for number, rows in enumerate(read) if not number or rows != read[number - 1]]
    test = set(parts["test"].tolist())
    touched = [number for number, rows in enumerate(asked) if rows & test]
    assert touched == [len(asked) - 1]


def test_the_best_epoch_by_development_score_is_restored(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 1)
    for select in ("uwa", "loss"):
        done = train(plan(select=select, epochs=6), TrainingData(streams, study.targets), parts)
        scores = [point["dev_uwa"] if select == "uwa" else -point["dev_loss"] for point in done.curve]
        assert done.best_epoch == int(np.argmax(scores)) + 1
        truth = study.targets[parts["dev"]]
        right = done.dev.argmax(1) == truth
        assert np.mean([right[truth == c].mean() for c in range(3)]) == pytest.approx(
            done.curve[done.best_epoch - 1]["dev_uwa"]
        )


def test_training_stops_early(data: Data) -> None:
    study, streams = data
    hopeless = Training(lr=1e-9, patience=2, weight_decay=0.0)
    done = train(plan(training=hopeless, epochs=30), TrainingData(streams, study.targets), fold_parts(study, 0))
    assert len(done.curve) == done.best_epoch + 2 < 30


def test_without_a_development_part_the_last_epoch_counts(data: Data) -> None:
    study, streams = data
    parts = {**fold_parts(study, 0), "dev": np.zeros(0, dtype=np.int64)}
    done = train(plan(epochs=3), TrainingData(streams, study.targets), parts)
    assert done.best_epoch == 3 and done.dev.shape == (0, 3) and done.notes


@pytest.mark.parametrize("fusion", ["cross", "mdre", "bottleneck", "late-calibrated"])
def test_the_padded_engine_trains_the_same_model(data: Data, fusion: str) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    shape = Shape(width=16, frame_dropout=0.0, pool_dropout=0.0, pool_norm="batch")
    same = plan(fusion=fusion, shape=shape, epochs=2)
    packed = train(same, TrainingData(streams, study.targets), parts)
    padded = train(same, TrainingData(streams, study.targets), parts, padded=True)
    np.testing.assert_allclose(packed.test, padded.test, atol=2e-3)


COMPILER = """
import sys, torch
from ser_fusion.training.schedule import OPTIMISERS, Schedule

def trained(kind):
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    optimiser = kind(model.parameters(), lr=1e-2, weight_decay=0.1, fused=True)
    schedule = Schedule("one-cycle", optimiser, epochs=2, steps=3)
    for _ in range(6):
        optimiser.zero_grad(set_to_none=True)
        model(torch.randn(4, 5)).square().sum().backward()
        optimiser.step()
        schedule.after_step()
    return model.weight.detach(), "torch._dynamo" in sys.modules

ours, loaded = trained(OPTIMISERS[sys.argv[1]])
theirs, then = trained(getattr(torch.optim, sys.argv[2]))
print(torch.equal(ours, theirs), loaded, then)
"""


@pytest.mark.parametrize(("name", "theirs"), [("adam", "Adam"), ("adamw", "AdamW")])
def test_optimisers_are_torchs_own_and_leave_its_compiler_alone(name: str, theirs: str) -> None:
    words = [sys.executable, "-W", "error", "-c", COMPILER, name, theirs]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said == "True False True\n", "equal weights; the compiler is loaded by torch's own alone"


@pytest.mark.parametrize("name", ["plateau", "cosine", "one-cycle", "none"])
def test_schedules(name: str) -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = Schedule(name, optimiser, epochs=10, steps=3)
    rates = []
    for _ in range(10):
        for _ in range(3):
            optimiser.step()
            schedule.after_step()
        schedule.after_epoch(0.5)
        rates.append(optimiser.param_groups[0]["lr"])
    if name == "plateau":
        assert rates[:5] == [1.0] * 5 and rates[5] == 0.5  # the first epoch is the best, four worse ones follow
    elif name == "cosine":
        assert rates[4] == pytest.approx(0.5) and rates[-1] == pytest.approx(0.0)
    elif name == "one-cycle":
        assert max(rates) > 0.9 and rates[-1] < 1e-4
    else:
        assert set(rates) == {1.0}


@pytest.mark.parametrize("score", [0.5, 0.0, -0.5, -2.0])
@pytest.mark.parametrize("fall", [0.0, 1e-5, 1e-2])
def test_the_plateau_schedule_sees_no_progress_in_flat_and_worsening_scores(score: float, fall: float) -> None:
    """Scores are higher-is-better and may be negative (minus a loss); none of these curves ever improves."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = Schedule("plateau", optimiser, epochs=12, steps=1)
    for epoch in range(12):
        optimiser.step()
        schedule.after_epoch(score - epoch * fall)
    assert optimiser.param_groups[0]["lr"] == 0.25  # after epochs 6 and 11


def test_the_plateau_schedule_sees_progress_in_a_falling_loss() -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = Schedule("plateau", optimiser, epochs=12, steps=1)
    for epoch in range(12):
        optimiser.step()
        schedule.after_epoch(-2.0 + 0.001 * epoch)
    assert optimiser.param_groups[0]["lr"] == 1.0


def test_dropout_is_chosen_on_development_data(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    done = train(plan(dropouts=((0.99, 0.99), (0.1, 0.1))), TrainingData(streams, study.targets), parts)
    assert done.model.card["shape"]["pool_dropout"] == 0.1
    assert np.array_equal(done.test, train(plan(), TrainingData(streams, study.targets), parts).test)


def test_balanced_class_weights_help_a_rare_class(corpus: Callable[..., Any], cache_of: Callable[..., Path]) -> None:
    planted = corpus("audio", n=200, strength=0.3, classes=2)
    rare = [n for n, label in enumerate(planted.labels) if label == "class1"][10:]
    keep = [n for n in range(200) if n not in set(rare)]
    planted.labels = [planted.labels[n] for n in keep]
    planted.frames = {key: [rows[n] for n in keep] for key, rows in planted.frames.items()}
    study = open_study(cache_of(planted), protocol="random")
    streams = {"audio": read_stream(study.layers["audio"], list(study.table.index))}
    recall = {}
    for weights in ("none", "balanced"):
        one = plan(fusion="audio", streams=("audio",), classes=2, class_weights=weights, epochs=8)
        parts = fold_parts(study, 0)
        done = train(one, TrainingData(streams, study.targets), {**parts, "test": parts["train"]})
        truth = study.targets[parts["train"]]
        recall[weights] = done.test[truth == 1, 1].mean()
    assert recall["balanced"] > recall["none"]


def test_layer_weights_find_the_layer_that_speaks(corpus: Callable[..., Any], cache_of: Callable[..., Path]) -> None:
    planted, noise = corpus("audio", n=120, strength=0.7), corpus("text", n=120, seed=0)
    planted.frames = {
        ("audio", 1): [
            np.random.default_rng(n).normal(size=f.shape) for n, f in enumerate(planted.frames[("audio", 2)])
        ],
        ("audio", 2): planted.frames[("audio", 2)],
        ("text", 6): noise.frames[("text", 6)],
    }
    planted.frames[("audio", 1)] = [f.astype(np.float32) for f in planted.frames[("audio", 1)]]
    study = open_study(cache_of(planted), layer="all")
    streams = {name: read_stream(study.layers[name], list(study.table.index)) for name in study.streams}
    one = plan(fusion="audio", streams=("audio",), training=Training(lr=0.02, patience=20), epochs=12)
    done = train(one, TrainingData(streams, study.targets), fold_parts(study, 0))
    weights = done.model.layer_weights()["audio"]
    assert sum(weights) == pytest.approx(1.0) and weights[1] > 0.55


def test_a_saved_model_predicts_the_same(data: Data, tmp_path: Path) -> None:
    import json

    from safetensors.torch import save_file

    study, streams = data
    parts = fold_parts(study, 0)
    done = train(plan(), TrainingData(streams, study.targets), parts)
    save_file(done.model.state_dict(), tmp_path / "weights.safetensors")
    (tmp_path / "head.json").write_text(json.dumps(done.model.card))
    model = load_model(tmp_path)
    assert np.array_equal(posteriors(model, Feed(streams, ("audio", "text")), parts["test"]), done.test)


def test_padding_frames_count_as_frames_when_asked(data: Data) -> None:
    _, streams = data
    feed = Feed(streams, ("audio", "text"), pad_to={"audio": 12, "text": 4})
    rows = np.array([3, 1])
    batch = feed.batch(rows)
    for name, length in (("audio", 12), ("text", 4)):
        frames = batch[name]
        assert frames.lengths == (length, length) and bool(frames.content.all())
        own = streams[name].layers[0][streams[name].offsets[3] : streams[name].offsets[4]][:length]
        got = frames.values[:length].numpy()
        assert np.array_equal(got[: len(own)], own.astype(np.float32)) and not got[len(own) :].any()


def test_re_pairing_stays_within_class_and_training_part(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    read: list[list[int]] = []  # of each batch the rows of audio, then those of text
    train(
        plan(re_pair=True, epochs=2),
        TrainingData(streams, study.targets),
        {"train": parts["train"], "dev": parts["dev"][:0], "test": parts["test"][:0]},
        on_read=lambda rows: read.append(rows.tolist()),
    )
    steps = 2 * -(-len(parts["train"]) // plan().training.batch)  # what is read behind them is not training
    read = read[1 : 2 * steps + 1]  # before them: mean and deviation of the inputs
    seen = list(zip(read[::2], read[1::2], strict=True))
    pairs = [pair for rows, texts in seen for pair in zip(rows, texts, strict=True)]
    assert all(study.targets[a] == study.targets[b] for a, b in pairs)
    assert {b for _, b in pairs} == set(parts["train"].tolist())
    half = len(pairs) // 2
    assert sum(a != b for a, b in pairs) > half and set(pairs[:half]) != set(pairs[half:])


def test_refitting_adds_the_development_part_and_nothing_of_the_test_part(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    usual, again = (train(plan(refit=flag), TrainingData(streams, study.targets), parts) for flag in (False, True))
    assert usual.curve[0]["train_loss"] == again.curve[0]["train_loss"] and usual.best_epoch == again.best_epoch
    assert np.array_equal(usual.dev, again.dev) and not np.array_equal(usual.test, again.test)
    assert "trained again on 80 utterances" in again.notes[0]
    both = np.sort(np.concatenate([parts["train"], parts["dev"]]))
    mean, _ = streams["audio"].moments(both)
    assert np.allclose(again.model.inputs["audio"].mean.numpy(), mean)
    wrong = study.targets
    wrong[parts["test"]] = (wrong[parts["test"]] + 1) % 3
    blind = train(plan(refit=True), TrainingData(streams, wrong), parts)
    assert all(torch.equal(v, blind.model.state_dict()[n]) for n, v in again.model.state_dict().items())


def test_averaged_weights_are_kept(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    one = plan(training=Training(average=0.9, patience=9), epochs=3)
    done, plain = (
        train(replace(one, training=t), TrainingData(streams, study.targets), parts)
        for t in (one.training, Training(patience=9))
    )
    assert done.curve[0]["train_loss"] == plain.curve[0]["train_loss"]  # the steps themselves are the same
    assert not np.array_equal(done.test, plain.test)
