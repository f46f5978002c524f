"""Calibration against scikit-learn and against posteriors whose temperature is known."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from ser_fusion.evaluation.calibration import calibration, scores
from ser_fusion.evaluation.temperatures import BOUNDS, ERRORS, fit_temperature, fold_temperatures, tempered

CLASSES = ["a", "b", "c"]


def sample(seed: int, n: int = 4000, sharpen: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors that are right at temperature 1 and then sharpened; targets drawn from the right ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.2, size=(n, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    return tempered(p, 1 / sharpen), targets


def test_scores_equal_scikit_learn():
    p, targets = sample(0, 500)
    got = scores(p, targets)
    assert got["nll"] == pytest.approx(log_loss(targets, p))
    assert got["brier"] == pytest.approx(brier_score_loss(targets, p, scale_by_half=False))


def test_ece_is_small_for_right_posteriors_and_exact_for_a_constant_gap():
    p, targets = sample(1, 20_000)
    assert scores(p, targets)["ece"] < 0.02
    constant = np.tile([0.9, 0.05, 0.05], (100, 1))
    right = np.r_[np.zeros(60, int), np.ones(40, int)]
    right = np.random.default_rng(0).permutation(right)
    assert scores(constant, right, bins=1)["ece"] == pytest.approx(0.3)


def test_ece_bins_equal_confidences_together_whatever_the_order_of_rows():
    uniform, targets = np.full((90, 3), 1 / 3), np.repeat([0, 1, 2], 30)
    steps = np.repeat([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]], 45, axis=0)
    for order in (np.arange(90), np.arange(90)[::-1], np.random.default_rng(0).permutation(90)):
        assert scores(uniform, targets[order])["ece"] == pytest.approx(0.0, abs=1e-12)  # right in a third, says a third
        assert scores(steps[order], targets[order])["ece"] == pytest.approx(scores(steps, targets)["ece"])


def test_temperature_is_recovered_and_leaves_decisions_alone():
    p, targets = sample(2, sharpen=2.5)
    found = fit_temperature(p, targets)
    temperature = found.value
    assert not found.why
    assert temperature == pytest.approx(2.5, rel=0.1)
    cooled = tempered(p, temperature)
    assert (cooled.argmax(axis=1) == p.argmax(axis=1)).all()
    assert scores(cooled, targets)["nll"] < scores(p, targets)["nll"]


def frame(seed: int, fold: str, sharpen: float) -> pd.DataFrame:
    p, targets = sample(seed, 800, sharpen)
    table = pd.DataFrame(p, columns=[f"p_{name}" for name in CLASSES])
    return table.assign(fold=fold, seed=0, id=[f"{fold}{i}" for i in range(800)], label=np.array(CLASSES)[targets])


def judged(test: pd.DataFrame, dev: pd.DataFrame | None, speakers: pd.Series | None = None) -> dict:
    tested = {fold: part["id"] for fold, part in test.groupby("fold")}
    return calibration(test, fold_temperatures(dev, tested, CLASSES, speakers), CLASSES)


def test_temperature_comes_from_development_predictions_of_all_folds():
    test = pd.concat([frame(3, "1", 3.0), frame(4, "2", 3.0)], ignore_index=True)
    dev = pd.concat([frame(5, "1", 3.0), frame(6, "2", 3.0)], ignore_index=True)
    dev["id"] = "dev" + dev["id"]
    got = judged(test, dev)
    assert got["temperature"] == pytest.approx(3.0, rel=0.1) and got["why"] == ""
    assert got["tempered"]["ece"] < got["raw"]["ece"] / 2
    one = judged(test, dev[dev["fold"] == "1"])
    assert one["temperature"] == pytest.approx(3.0, rel=0.15), "the other fold's development part serves both"
    assert "tempered" not in judged(test, None)


def test_tested_speakers_are_left_out_of_their_folds_fit():
    test = pd.concat([frame(3, "1", 1.0), frame(4, "2", 1.0)], ignore_index=True)
    dev = pd.concat([frame(5, "1", 3.0), frame(6, "2", 1.0)], ignore_index=True)
    swapped = np.where(dev["fold"] == "1", "2", "1")  # fold 1 develops on what fold 2 tests, and the other way round
    dev["id"] = swapped + dev["id"].str[1:]
    speakers = pd.Series({name: "ann" if name.startswith("1") else "bob" for name in test["id"]})
    tested = {"1": test.loc[test["fold"] == "1", "id"], "2": test.loc[test["fold"] == "2", "id"]}
    known = fold_temperatures(dev, tested, CLASSES, speakers)
    assert known["1"].value == pytest.approx(3.0, rel=0.1), "fold 1 tests ann: only bob's predictions count"
    assert known["2"].value == 1.0 and "cross-fit" in known["2"].why
    only = fold_temperatures(dev[dev["fold"] == "1"], tested, CLASSES, speakers)
    assert only["2"].value == 1.0 and "every development speaker is tested" in only["2"].why


def test_seeds_are_no_further_utterances():
    dev = frame(7, "1", 2.0)
    many = pd.concat([dev.assign(seed=seed) for seed in range(5)], ignore_index=True)
    tested = {"1": ["other"]}
    once, often = (fold_temperatures(part, tested, CLASSES)["1"].value for part in (dev, many))
    assert often == pytest.approx(once, rel=1e-4)
    few = dev[
        dev[[f"p_{name}" for name in CLASSES]].to_numpy().argmax(1) != pd.Index(CLASSES).get_indexer(dev["label"])
    ]
    few = few.head(ERRORS - 1)
    assert fold_temperatures(pd.concat([few] * 5), tested, CLASSES)["1"].value == 1.0


def test_bounds_and_shrinkage():
    p, targets = sample(8, 4000, sharpen=30.0)
    assert fit_temperature(p, targets).value <= BOUNDS[1]
    sure, right = sample(9, 4000, sharpen=0.05)
    assert fit_temperature(sure, right).value >= BOUNDS[0]
    p, targets = sample(10, 60, sharpen=3.0)
    often = np.tile(p, (20, 1)), np.tile(targets, 20)
    assert 1 < fit_temperature(p, targets).value < fit_temperature(*often).value, "little data is shrunk more"


def test_development_parts_without_an_error_change_nothing():
    """300 clips, 10 speakers, each speaker tested once; every development part is answered without an error."""
    rng = np.random.default_rng(11)
    parts: dict[str, list[pd.DataFrame]] = {"test": [], "dev": []}
    speakers = pd.Series({f"{who}-{clip}": f"speaker{who}" for who in range(10) for clip in range(30)})
    for fold in range(10):
        for part, who in (("test", fold), ("dev", (fold + 1) % 10)):
            targets = rng.integers(0, 3, 30)
            logits = rng.normal(0, 1, (30, 3))
            logits[np.arange(30), targets] += 2.0
            if part == "dev":
                logits[np.arange(30), targets] = logits.max(axis=1) + 1.5
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            table = pd.DataFrame(p, columns=[f"p_{name}" for name in CLASSES])
            ids = [f"{who}-{clip}" for clip in range(30)]
            parts[part].append(table.assign(fold=str(fold), seed=0, id=ids, label=np.array(CLASSES)[targets]))
    test, dev = (pd.concat(parts[part], ignore_index=True) for part in ("test", "dev"))
    got = judged(test, dev, speakers)
    assert (test[["p_a", "p_b", "p_c"]].to_numpy().argmax(1) != pd.Index(CLASSES).get_indexer(test["label"])).mean() > 0
    assert got["tempered"]["nll"] <= got["raw"]["nll"] + 0.005 and got["temperature"] == 1.0
    assert "0 development errors" in got["why"]


def test_impossible_certainty_stays_finite():
    p = np.array([[1.0, 0.0, 0.0]])
    assert np.isfinite(scores(p, np.array([1]))["nll"])
