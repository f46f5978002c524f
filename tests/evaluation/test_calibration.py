"""Calibration against scikit-learn and against posteriors whose temperature is known."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from ser_fusion.evaluation.calibration import calibration, fit_temperature, scores, tempered

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
    temperature = fit_temperature(p, targets)
    assert temperature == pytest.approx(2.5, rel=0.1)
    cooled = tempered(p, temperature)
    assert (cooled.argmax(axis=1) == p.argmax(axis=1)).all()
    assert scores(cooled, targets)["nll"] < scores(p, targets)["nll"]


def frame(seed: int, fold: str, sharpen: float) -> pd.DataFrame:
    p, targets = sample(seed, 800, sharpen)
    table = pd.DataFrame(p, columns=[f"p_{name}" for name in CLASSES])
    return table.assign(fold=fold, seed=0, id=[f"{fold}{i}" for i in range(800)], label=np.array(CLASSES)[targets])


def test_temperature_comes_from_the_same_folds_development_part():
    test = pd.concat([frame(3, "1", 3.0), frame(4, "2", 0.5)], ignore_index=True)
    dev = pd.concat([frame(5, "1", 3.0), frame(6, "2", 0.5)], ignore_index=True)
    got = calibration(test, dev, CLASSES)
    assert got["temperature"] == pytest.approx((3.0 + 0.5) / 2, rel=0.15)
    assert got["tempered"]["ece"] < got["raw"]["ece"] / 2
    assert "tempered" not in calibration(test, dev[dev["fold"] == "1"], CLASSES)
    assert "tempered" not in calibration(test, None, CLASSES)


def test_impossible_certainty_stays_finite():
    p = np.array([[1.0, 0.0, 0.0]])
    assert np.isfinite(scores(p, np.array([1]))["nll"])
