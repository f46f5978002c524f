"""`late-calibrated`: experts trained apart, each of its own best epoch and at its own temperature."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_fusion.evaluation.temperatures import fit_temperature, tempered
from ser_fusion.frames.features import StreamFrames, read_stream
from ser_fusion.frames.feed import Feed
from ser_fusion.heads.model import Model
from ser_fusion.heads.shape import Shape
from ser_fusion.runs.planning import fold_parts
from ser_fusion.study.open import Study, open_study
from ser_fusion.training.plan import Plan, TrainingData
from ser_fusion.training.presets import Training
from ser_fusion.training.scoring import BestEpoch, expert_logits, posteriors
from ser_fusion.training.train import train

Data = tuple[Study, dict[str, StreamFrames]]
STREAMS = ("audio", "text")


@pytest.fixture
def data(corpus: Callable[..., Any], cache_of: Callable[..., Path]) -> Data:
    """Both streams carry the label, independently."""
    study = open_study(cache_of(corpus("both", n=120, strength=0.4)), protocol="random")
    return study, {name: read_stream(study.layers[name], list(study.table.index)) for name in study.streams}


@pytest.fixture
def hard(corpus: Callable[..., Any], cache_of: Callable[..., Path]) -> Data:
    """Enough development errors for a temperature."""
    study = open_study(cache_of(corpus("both", n=600, strength=0.25, longest=16), "hard"), protocol="random")
    return study, {name: read_stream(study.layers[name], list(study.table.index)) for name in study.streams}


def plan(**changes: Any) -> Plan:
    base = Plan(
        fusion="late-calibrated",
        streams=STREAMS,
        shape=Shape(width=16, frame_dropout=0.1, pool_dropout=0.1),
        training=Training(lr=0.01, patience=20, schedule="none", clip=0.0),
        dropouts=(),
        normalise=True,
        pad_to={},
        classes=3,
        epochs=6,
        select="uwa",
        class_weights="none",
        seed=(0, 0),
    )
    return replace(base, **changes)


def owned(model: Model, stream: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if f".{stream}." in name}


def test_each_expert_is_of_its_own_best_epoch(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    done = train(plan(), TrainingData(streams, study.targets), parts)
    alone = {"dev": np.zeros(0, dtype=np.int64), "train": parts["train"], "test": parts["test"]}
    scores: dict[str, list[float]] = {stream: [] for stream in STREAMS}
    truth = study.targets[parts["dev"]]
    for epoch in range(1, 7):  # without a development part the last epoch counts
        one = train(plan(epochs=epoch), TrainingData(streams, study.targets), alone)
        logits, _ = expert_logits(one.model, Feed(streams, STREAMS), parts["dev"])
        for stream, said in zip(STREAMS, logits, strict=True):
            right = (said.argmax(1) == torch.from_numpy(truth)).numpy()
            scores[stream].append(float(np.mean([right[truth == c].mean() for c in range(3)])))
        for stream in STREAMS:
            if done.best_epochs[stream] == epoch:
                assert all(torch.equal(v, owned(done.model, stream)[n]) for n, v in owned(one.model, stream).items())
    assert {s: done.best_epochs[s] for s in STREAMS} == {s: int(np.argmax(scores[s])) + 1 for s in STREAMS}
    assert done.best_epochs["audio"] != done.best_epochs["text"]  # else nothing was shown


def test_it_is_the_calibrated_product(hard: Data) -> None:
    study, streams = hard
    parts = fold_parts(study, 0)
    done = train(plan(), TrainingData(streams, study.targets), parts)
    feed = Feed(streams, STREAMS)
    prior = np.bincount(study.targets[parts["train"]]) / len(parts["train"])
    product, temperatures = 1 / prior, []
    for number in range(2):
        dev, test = (expert_logits(done.model, feed, parts[p])[0][number].double() for p in ("dev", "test"))
        temperatures.append(fit_temperature(dev.softmax(1).numpy(), study.targets[parts["dev"]]).value)
        product = product * tempered(test.softmax(1).numpy(), temperatures[-1])
    assert done.model.state_dict()["head.temperature"].tolist() == pytest.approx(temperatures, rel=1e-5)
    assert max(abs(np.log(temperatures))) > 0.05  # else nothing was shown
    product /= product.sum(1, keepdims=True)
    np.testing.assert_allclose(done.test, product, atol=2e-5)


def test_the_test_part_decides_nothing(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    wrong = study.targets
    wrong[parts["test"]] = (wrong[parts["test"]] + 1) % 3
    for refit in (False, True):
        honest, blind = (
            train(plan(refit=refit), TrainingData(streams, t), parts).model for t in (study.targets, wrong)
        )
        assert all(torch.equal(v, blind.state_dict()[n]) for n, v in honest.state_dict().items())


def test_refitting_keeps_temperatures_and_epochs(data: Data) -> None:
    study, streams = data
    parts = fold_parts(study, 0)
    usual, again = (train(plan(refit=flag), TrainingData(streams, study.targets), parts) for flag in (False, True))
    assert usual.best_epochs == again.best_epochs
    first, second = (done.model.state_dict() for done in (usual, again))
    assert torch.equal(first["head.temperature"], second["head.temperature"])
    both = {"train": np.sort(np.concatenate([parts["train"], parts["dev"]])), "dev": np.zeros(0, dtype=np.int64)}
    for stream in STREAMS:
        exact = plan(epochs=usual.best_epochs[stream])
        one = train(exact, TrainingData(streams, study.targets), {**both, "test": parts["test"]})
        assert all(torch.equal(v, second[n]) for n, v in owned(one.model, stream).items())


def test_without_a_development_part_it_says_that_it_is_late(data: Data) -> None:
    study, streams = data
    parts = {**fold_parts(study, 0), "dev": np.zeros(0, dtype=np.int64)}
    done = train(plan(epochs=2), TrainingData(streams, study.targets), parts)
    plain = train(plan(epochs=2, fusion="late"), TrainingData(streams, study.targets), parts)
    assert any("not calibrated" in note for note in done.notes)
    np.testing.assert_allclose(done.test, plain.test, atol=1e-6)


def test_temperatures_are_fitted_on_what_is_heard(data: Data) -> None:
    _, streams = data
    model = Model(
        "late-calibrated", {s: streams[s].features for s in STREAMS}, {"audio": 1, "text": 1}, 3, Shape(), True
    )
    chance = torch.Generator().manual_seed(0)
    logits, targets = torch.randn((2, 40, 3), generator=chance), torch.randint(0, 3, (40,), generator=chance)
    heard = torch.ones((2, 40), dtype=torch.bool)
    heard[1, 20:] = False
    model.head.calibrate(logits, heard, targets)
    kept = fit_temperature(logits[1, :20].softmax(1).double().numpy(), targets[:20].numpy()).value
    assert model.state_dict()["head.temperature"][1].item() == pytest.approx(kept, rel=1e-5)
    heard[1] = False
    before = model.state_dict()["head.temperature"].clone()
    model.head.calibrate(logits, heard, targets)
    assert model.state_dict()["head.temperature"][1] == before[1]


@pytest.mark.parametrize("options", [{"context": 2}, {"ratings": 3}, {"layers": 2}])
def test_every_weight_belongs_to_one_part(options: dict[str, int]) -> None:
    layers = {stream: options.get("layers", 1) for stream in STREAMS}
    rest = {name: value for name, value in options.items() if name != "layers"}
    model = Model("late-calibrated", {"audio": 5, "text": 4}, layers, 3, Shape(width=8), True, **rest)
    parts = BestEpoch(model).parts
    names = [name for part in parts.values() for name in part]
    assert sorted(names) == sorted(model.state_dict())
    trained = {name for name, _ in model.named_parameters()}
    assert not trained & set(parts[""])  # what is shared is fitted, not trained
    for stream, other in (STREAMS, STREAMS[::-1]):
        model.zero_grad()
        number = list(STREAMS).index(stream)
        batch = {s: _frames(5 if s == "audio" else 4, layers[s]) for s in STREAMS}
        loss = model.expert_logits(batch)[number].sum()
        loss.backward()
        moved = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
        assert moved and not moved & set(parts[other])


def _frames(features: int, layers: int) -> Any:
    from ser_fusion.frames.batches import Packed

    values = torch.randn((6, layers, features))
    return Packed(values if layers > 1 else values[:, 0], [4, 2], torch.ones(6, dtype=torch.bool))


def test_an_overconfident_stream_is_turned_down(hard: Data) -> None:
    """The posteriors of one stream made 5 times too sure: the product recovers, the uncalibrated one does not."""
    study, streams = hard
    parts = fold_parts(study, 0)
    model = train(plan(), TrainingData(streams, study.targets), parts).model
    plain = train(plan(fusion="late"), TrainingData(streams, study.targets), parts).model
    feed, loss = Feed(streams, STREAMS), {}
    for name, one in (("calibrated", model), ("plain", plain)):
        with torch.no_grad():
            for classify in [module for module in one.head.classifiers()[1].modules() if hasattr(module, "weight")]:
                classify.weight.mul_(5)
                classify.bias.mul_(5)
        logits, heard = expert_logits(one, feed, parts["dev"])
        one.head.calibrate(logits, heard, torch.from_numpy(study.targets[parts["dev"]]))
        given = posteriors(one, feed, parts["test"])
        loss[name] = -np.log(given[np.arange(len(given)), study.targets[parts["test"]]] + 1e-7).mean()
    assert loss["calibrated"] < 0.8 * loss["plain"]
