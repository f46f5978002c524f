"""Are the posteriors worth their face value? NLL, Brier and equal-mass ECE, raw and after temperature scaling."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ser_fusion.evaluation.temperatures import FLOOR, NO_DEVELOPMENT, Temperature, arrays_of, tempered

BINS = 15


def scores(posteriors: np.ndarray, targets: np.ndarray, bins: int = BINS) -> dict[str, float]:
    """Calibration of one scored set.

    Args:
        posteriors: ``(n, classes)``, rows sum to 1.
        targets: ``(n,)`` class positions.
        bins: Of equal mass by confidence, for the ECE; equal confidences fall into one bin, whatever the order of rows.

    Returns:
        ``nll`` (nats per utterance, posteriors floored at 1e-7), ``brier`` (sum over classes of squared errors,
        in [0, 2]), ``ece`` (mean gap of confidence and accuracy, in [0, 1]).
    """
    n = len(targets)
    true = posteriors[np.arange(n), targets]
    brier = (posteriors**2).sum(axis=1) - 2 * true + 1
    confidence, right = posteriors.max(axis=1), posteriors.argmax(axis=1) == targets
    ranks = np.searchsorted(np.sort(confidence), confidence)  # ties share the lowest rank, so they share a bin
    bin_of = ranks * min(bins, n) // n
    gaps = np.bincount(bin_of, weights=confidence) - np.bincount(bin_of, weights=right)
    return {
        "nll": float(-np.log(np.maximum(true, FLOOR)).mean()),
        "brier": float(brier.mean()),
        "ece": float(np.abs(gaps).sum() / n),
    }


def calibration(test: pd.DataFrame, temperatures: Mapping[str, Temperature], classes: Sequence[str]) -> dict[str, Any]:
    """Calibration of one row, each (fold, seed) scored apart and averaged by utterances.

    Args:
        test: Test predictions of the row.
        temperatures: The row's temperature in each fold, from ``fold_temperatures``.
        classes: Class names in order.

    Returns:
        ``raw``; ``tempered`` with ``temperature`` (the mean over folds) where there are development predictions;
        ``why``: why calibration was not applied, or not in every fold; else empty.
    """
    weights: list[int] = []
    raw: list[dict[str, float]] = []
    cooled: list[dict[str, float]] = []
    for (fold, _), part in test.groupby(["fold", "seed"]):
        posteriors, targets = arrays_of(part, classes)
        weights.append(len(part))
        raw.append(scores(posteriors, targets))
        divisor = temperatures[str(fold)].value
        cooled.append(raw[-1] if divisor == 1 else scores(tempered(posteriors, divisor), targets))

    def mean(parts: list[dict[str, float]]) -> dict[str, float]:
        return {name: float(np.average([part[name] for part in parts], weights=weights)) for name in parts[0]}

    why = not_applied(temperatures.values())
    result: dict[str, Any] = {"raw": mean(raw), "bins": BINS, "why": why}
    if why != NO_DEVELOPMENT:
        fitted = float(np.mean([temperature.value for temperature in temperatures.values()]))
        result |= {"tempered": mean(cooled), "temperature": fitted}
    return result


def not_applied(temperatures: Iterable[Temperature]) -> str:
    """Why calibration was not applied, where it was applied in no fold or only in some; empty where it was in all."""
    listed = list(temperatures)
    left = [temperature for temperature in listed if temperature.why]
    if not left:
        return ""
    if len(left) == len(listed) and len({temperature.why for temperature in left}) == 1:
        return left[0].why
    return f"in {len(left)} of {len(listed)} folds; in the first of these, {left[0].why}"
