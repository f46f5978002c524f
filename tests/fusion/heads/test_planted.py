"""Signals planted where we know: in speech, in text, or only in how the two fit together. Does each head find what it can?

The best possible rule knows how the data were made; its accuracy on the same test utterances is printed as the Bayes rate.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ser_fusion.heads import HEADS
from ser_fusion.heads.shape import Shape
from ser_fusion.training.plan import Plan, TrainingData
from ser_fusion.training.presets import Training
from ser_fusion.training.train import train

TRAIN, DEV, TEST = 600, 200, 2500
HEARD = [
    name for name in HEADS if name not in ("video", "prosody")
]  # nothing is seen in these worlds; tests/fusion/runs/test_together.py has three streams
ADDITIVE = [name for name in HEARD if not HEADS[name].interacts]
STRENGTH = {"audio": 0.35, "text": 0.75, "conjunction": 0.45}


@pytest.fixture(scope="module")
def worlds(plant: Callable[..., Any], frames_of: Callable[..., Any]) -> Callable[[str], Any]:
    """A planted corpus with frames, targets and Bayes rate, made once per kind."""
    made: dict[str, Any] = {}

    def world(kind: str) -> Any:
        if kind not in made:
            corpus = plant(kind, n=TRAIN + DEV + TEST, seed=5, strength=STRENGTH[kind], features=(12, 10), longest=20)
            targets = np.array([int(label[-1]) for label in corpus.labels])
            made[kind] = frames_of(corpus), targets, bayes(kind, corpus, targets)
        return made[kind]

    return world


def bayes(kind: str, corpus: Any, targets: np.ndarray) -> float:
    """Accuracy of the rule that knows the directions the signal was planted in."""
    draw = np.random.default_rng(5)
    audio = np.linalg.qr(draw.normal(size=(12, 12)))[0]
    text = np.linalg.qr(draw.normal(size=(10, 10)))[0]
    right = []
    for n in range(TRAIN + DEV, len(targets)):
        x, y = corpus.frames[("audio", 2)][n], corpus.frames[("text", 6)][n]
        if kind == "audio":
            guess = int((x.sum(0) @ audio[:3].T).argmax())
        elif kind == "text":
            guess = int((y.sum(0) @ text[:3].T).argmax())
        else:
            marks = 2 * (np.arange(len(x)) % 2) - 1
            guess = int(np.sign(marks @ (x @ audio[1])) * np.sign(y.sum(0) @ text[0]) > 0)
        right.append(guess == targets[n])
    return float(np.mean(right))


def score(worlds: Callable[[str], Any], kind: str, name: str) -> tuple[float, float]:
    streams, targets, best = worlds(kind)
    rows = np.arange(len(targets))
    parts = {"train": rows[:TRAIN], "dev": rows[TRAIN : TRAIN + DEV], "test": rows[TRAIN + DEV :]}
    plan = Plan(
        fusion=name,
        streams=HEADS[name].reads(name, ("audio", "text")),
        shape=Shape(width=24, frame_dropout=0.1, pool_dropout=0.1),
        training=Training(lr=4e-3, patience=4 if name in ADDITIVE else 8, batch=32),
        dropouts=(),
        normalise=True,
        pad_to={},
        classes=int(targets.max()) + 1,
        epochs=6 if name in ADDITIVE else 22,
        select="uwa",
        class_weights="none",
        seed=(0, 0),
    )
    done = train(plan, TrainingData(streams, targets), parts)
    reached = float((done.test.argmax(1) == targets[parts["test"]]).mean())
    print(f"{kind}: {name} {reached:.3f}, Bayes {best:.3f}")
    return reached, best


CONJUNCTION_FAST = ("cross", "self", "late")


@pytest.mark.parametrize(
    "name",
    [n if n in CONJUNCTION_FAST else pytest.param(n, marks=pytest.mark.crash) for n in HEARD if n != "bottleneck"],
)
def test_only_the_conjunction_carries_the_label(worlds: Callable[[str], Any], name: str) -> None:
    reached, best = score(worlds, "conjunction", name)
    assert best > 0.9
    if name in ADDITIVE:
        assert abs(reached - 0.5) < 0.02 + 0.01  # 0.01: one standard error of 2,500 test utterances
    else:
        assert reached >= 0.9 * best


@pytest.mark.parametrize("kind", ["audio", "text"])
@pytest.mark.parametrize(
    "name", [n if n in ("audio", "cross") else pytest.param(n, marks=pytest.mark.crash) for n in HEARD]
)
def test_only_one_stream_carries_the_label(worlds: Callable[[str], Any], kind: str, name: str) -> None:
    reached, best = score(worlds, kind, name)
    assert 0.7 < best < 0.99
    if name in ("audio", "text") and name != kind:
        assert abs(reached - 1 / 3) < 0.03
    else:
        assert reached >= 0.85 * best
