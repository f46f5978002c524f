"""Are the posteriors worth their face value? NLL, Brier and equal-mass ECE, raw and after temperature scaling.

The temperature is fitted on the development predictions of the same fold and seed, never on test.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ser_fusion.evaluation.metrics import class_positions

BINS = 15
_FLOOR = 1e-7


def scores(posteriors: np.ndarray, targets: np.ndarray, bins: int = BINS) -> dict[str, float]:
    """Calibration of one scored set.

    Args:
        posteriors: `(n, classes)`, rows sum to 1.
        targets: `(n,)` class positions.
        bins: of equal mass by confidence, for the ECE; equal confidences fall into one bin, whatever the order of rows.

    Returns:
        `nll` (nats per utterance, posteriors floored at 1e-7), `brier` (sum over classes of squared errors, in [0, 2]),
        `ece` (mean gap of confidence and accuracy, in [0, 1]).
    """
    n = len(targets)
    true = posteriors[np.arange(n), targets]
    brier = (posteriors**2).sum(axis=1) - 2 * true + 1
    confidence, right = posteriors.max(axis=1), posteriors.argmax(axis=1) == targets
    ranks = np.searchsorted(np.sort(confidence), confidence)  # ties share the lowest rank, so they share a bin
    bin_of = ranks * min(bins, n) // n
    gaps = np.bincount(bin_of, weights=confidence) - np.bincount(bin_of, weights=right)
    return {
        "nll": float(-np.log(np.maximum(true, _FLOOR)).mean()),
        "brier": float(brier.mean()),
        "ece": float(np.abs(gaps).sum() / n),
    }


def tempered(posteriors: np.ndarray, temperature: float) -> np.ndarray:
    """Posteriors of the same logits divided by `temperature`."""
    logits = np.log(np.maximum(posteriors, _FLOOR)) / temperature
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def fit_temperature(posteriors: np.ndarray, targets: np.ndarray) -> float:
    """The temperature in [0.05, 20] with the least NLL."""
    from scipy.optimize import minimize_scalar

    logits = np.log(np.maximum(posteriors, _FLOOR))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        top = scaled.max(axis=1)
        total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float((total - scaled[np.arange(len(targets)), targets]).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def _arrays(frame: pd.DataFrame, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    posteriors = frame[[f"p_{name}" for name in classes]].to_numpy(dtype=np.float64)
    total = posteriors.sum(axis=1, keepdims=True)
    return posteriors / np.where(total > 0, total, 1.0), class_positions(frame["label"], classes)


def calibration(test: pd.DataFrame, development: pd.DataFrame | None, classes: Sequence[str]) -> dict[str, Any]:
    """Calibration of one row, each (fold, seed) scored apart and averaged by utterances.

    Returns:
        `raw` and, where every (fold, seed) has development predictions, `tempered` with `temperature` (their mean).
    """
    weights: list[int] = []
    raw: list[dict[str, float]] = []
    cooled: list[dict[str, float]] = []
    temperatures: list[float] = []
    dev = {} if development is None else dict(iter(development.groupby(["fold", "seed"])))
    for key, part in test.groupby(["fold", "seed"]):
        posteriors, targets = _arrays(part, classes)
        weights.append(len(part))
        raw.append(scores(posteriors, targets))
        if key in dev:
            temperature = fit_temperature(*_arrays(dev[key], classes))
            temperatures.append(temperature)
            cooled.append(scores(tempered(posteriors, temperature), targets))

    def mean(parts: list[dict[str, float]]) -> dict[str, float]:
        return {name: float(np.average([part[name] for part in parts], weights=weights)) for name in parts[0]}

    result: dict[str, Any] = {"raw": mean(raw), "bins": BINS}
    if len(cooled) == len(raw):
        result |= {"tempered": mean(cooled), "temperature": float(np.mean(temperatures))}
    return result
