"""Worlds in which we know what a lever is worth: where it must help, where it cannot, and what is left when it is a sham.

Every comparison is the project's paired test: whole speakers swapped between the two models (12 speakers, all 2^12 ways).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ser_fusion.evaluation.metrics import confusion
from ser_fusion.evaluation.statistics import SwapTest, swap_test
from ser_fusion.heads.shape import Shape
from ser_fusion.training.losses.levers import Levers
from ser_fusion.training.plan import Plan, TrainingData
from ser_fusion.training.presets import Training
from ser_fusion.training.train import train

SPEAKERS = 12
CLASSES = 3
PLAN = Plan(
    fusion="audio",
    streams=("audio",),
    shape=Shape(width=16, frame_dropout=0.1, pool_dropout=0.1),
    training=Training(lr=4e-3, patience=50, average=0.9),
    dropouts=(),
    normalise=True,
    pad_to={},
    classes=CLASSES,
    epochs=8,
    select="uwa",
    class_weights="none",
    seed=(0, 0),
)
ALONE = replace(
    PLAN,
    shape=Shape(width=16, frame_dropout=0.0, pool_dropout=0.0, attention=False, pooling="mean"),
    training=Training(lr=1e-2, patience=99, batch=16, schedule="none"),
    epochs=30,
    select="loss",
)


class World:
    """Frames, classes and parts; ``test`` compares two models on its test part."""

    def __init__(self, streams: Any, targets: np.ndarray, parts: dict[str, np.ndarray]) -> None:
        self.streams, self.targets, self.parts = streams, targets, parts

    def counts(self, plan: Plan, **given: Any) -> np.ndarray:
        """Confusion matrices per speaker of the test part."""
        parts = {**self.parts, **{k: given.pop(k) for k in ("train",) if k in given}}
        guess = train(plan, TrainingData(self.streams, self.targets, **given), parts).test.argmax(1)
        rows = parts["test"]
        who = rows % SPEAKERS
        truth = self.targets[rows]
        return np.stack([confusion(truth[who == w], guess[who == w], range(plan.classes)) for w in range(SPEAKERS)])


def told(name: str, test: SwapTest) -> SwapTest:
    print(f"{name}: {100 * test.difference:+.1f} points UWA, p = {test.p:.4f}, {test.units} speakers")
    return test


@pytest.fixture(scope="module")
def rare(plant: Callable[..., Any], frames_of: Callable[..., Any]) -> World:
    """Three classes, of which one is a twentieth of all utterances."""
    corpus = plant("audio", n=3300, seed=0, strength=0.5, longest=9, shares=(0.6, 0.35, 0.05))
    targets = np.array([int(label[-1]) for label in corpus.labels])
    rows = np.arange(3300)
    return World(frames_of(corpus), targets, {"train": rows[:600], "dev": rows[600:900], "test": rows[900:]})


@pytest.mark.parametrize("name", ["logit-adjust", "class-balanced"])
def test_a_rare_class_is_found(rare: World, name: str) -> None:
    plain, lever = rare.counts(PLAN), rare.counts(replace(PLAN, levers=Levers(loss=name)))
    found = told(name, swap_test(lever, plain))
    assert found.difference > 0.05 and found.p < 0.01
    recalls = [(counts.sum(0)[2, 2] / counts.sum(0)[2].sum()) for counts in (lever, plain)]
    assert recalls[0] > recalls[1] + 0.2
    assert swap_test(lever, plain, "WA").difference < 0  # it has a price, which WA sees


@pytest.fixture(scope="module")
def even(plant: Callable[..., Any], frames_of: Callable[..., Any]) -> World:
    """Three equally frequent classes without any label noise: nothing for these levers to mend."""
    corpus = plant("audio", n=2000, seed=1, strength=0.4, longest=9)
    targets = np.array([int(label[-1]) for label in corpus.labels])
    rows = np.arange(2000)
    return World(frames_of(corpus), targets, {"train": rows[:600], "dev": rows[600:800], "test": rows[800:]})


LEVERS = {
    "logit-adjust": Levers(loss="logit-adjust"),
    "class-balanced": Levers(loss="class-balanced"),
    "focal": Levers(loss="focal"),
    "smoothing": Levers(smoothing=0.1),
    "mixup": Levers(mixup=0.2),
    "contrastive": Levers(contrastive=0.1, pairs=((0, 1),), pair_weight=2.0),
}


def test_where_a_lever_cannot_help_it_does_no_significant_harm(even: World) -> None:
    plain = even.counts(PLAN)
    tests = {name: told(name, swap_test(even.counts(replace(PLAN, levers=v)), plain)) for name, v in LEVERS.items()}
    for name, test in tests.items():
        assert test.p > 0.05 / len(tests) or test.difference > 0, name  # Bonferroni over the levers


@pytest.fixture(scope="module")
def opinions(plant: Callable[..., Any], frames_of: Callable[..., Any]) -> tuple[World, np.ndarray, np.ndarray]:
    """Four annotators; in training they agree (3 of 4) on one turn in seven, else half of the votes are right: no majority.

    Returns the world (class -1 where there is no majority), votes as distributions, and the turns without a majority.
    """
    corpus = plant("audio", n=1640, seed=2, strength=0.7, longest=9, features=(24, 4))
    true = np.array([int(label[-1]) for label in corpus.labels])
    draw = np.random.default_rng(2)
    rows, n = np.arange(1640), 1640
    sure = (draw.random(n) < 0.15) | (rows >= 240)
    votes = np.where(sure[:, None], 0.0, np.ones((n, CLASSES)))
    votes[rows, true] = np.where(sure, 3, 2)
    votes[rows[sure], ((true + draw.integers(1, CLASSES, n)) % CLASSES)[sure]] = 1  # says nothing
    own = rows[:240][sure[:240]]
    world = World(frames_of(corpus), np.where(sure, true, -1), {"train": own, "dev": rows[240:440], "test": rows[440:]})
    return world, (votes / votes.sum(1, keepdims=True)).astype(np.float32), rows[:240][~sure[:240]]


def shuffled(votes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The sham: every utterance gets the votes of another one of the same majority class (or of none)."""
    draw, out = np.random.default_rng(1), votes.copy()
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        out[rows] = votes[draw.permutation(rows)]
    return out


def test_votes_of_turns_without_a_majority_help_and_shuffled_votes_do_not(
    opinions: tuple[World, np.ndarray, np.ndarray],
) -> None:
    world, votes, more = opinions
    soft = replace(ALONE, levers=Levers(votes=True))
    both = np.concatenate([world.parts["train"], more])
    plain = world.counts(ALONE)
    helped = world.counts(soft, votes=votes, train=both)
    sham = world.counts(soft, votes=shuffled(votes, world.targets), train=both)
    gain, lost = told("votes", swap_test(helped, plain)), told("shuffled votes", swap_test(sham, plain))
    against = told("votes - shuffled votes", swap_test(helped, sham))
    assert gain.difference > 0.05 and gain.p < 0.01
    assert lost.difference < 0.02 and against.difference > 0.05 and against.p < 0.01


def test_votes_that_say_nothing_more_do_no_harm(even: World) -> None:
    """Every turn has a majority, and the fourth annotator's vote is drawn from the other classes at random."""
    draw, rows = np.random.default_rng(3), np.arange(len(even.targets))
    votes = 0.75 * np.eye(CLASSES, dtype=np.float32)[even.targets]
    votes[rows, (even.targets + draw.integers(1, CLASSES, len(rows))) % CLASSES] += np.float32(0.25)
    soft = replace(PLAN, levers=Levers(votes=True))
    test = told("votes that say nothing", swap_test(even.counts(soft, votes=votes), even.counts(PLAN)))
    assert test.p > 0.05 or test.difference > 0


def test_stream_dropout_helps_where_the_text_is_missing(
    plant: Callable[..., Any], frames_of: Callable[..., Any]
) -> None:
    """In training the text says nearly all, so the speech is hardly learned; the tested utterances have no text."""
    corpus = plant("audio", n=1600, seed=1, strength=0.5, longest=9, features=(12, 12))
    targets, draw = np.array([int(label[-1]) for label in corpus.labels]), np.random.default_rng(8)
    basis = np.linalg.qr(draw.normal(size=(12, 12)))[0]
    said = [draw.normal(size=(4 if n < 400 else 0, 12)) + 3.0 * basis[c] for n, c in enumerate(targets)]
    text = {key: [frames.astype(np.float32) for frames in said] for key in corpus.frames if key[0] == "text"}
    rows = np.arange(1600)
    parts = {"train": rows[:300], "dev": rows[300:400], "test": rows[400:]}
    world = World(frames_of(replace(corpus, frames={**corpus.frames, **text})), targets, parts)
    plan = replace(PLAN, fusion="concat", streams=("audio", "text"), epochs=20)
    dropped = replace(plan, shape=replace(plan.shape, stream_dropout=0.5))
    test = told("stream dropout", swap_test(world.counts(dropped), world.counts(plan)))
    assert test.difference > 0.03 and test.p < 0.01
