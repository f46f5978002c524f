"""How numbers are written, in every output alike."""

from collections.abc import Mapping
from typing import Any


def score(value: float | None) -> str:
    """A score in [0, 1] as the field prints it: `.522`; `1.000` for one; `–` for none."""
    if value is None:
        return "–"
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0") else text.replace("-0", "-", 1) if text.startswith("-0") else text


def spread(metric: Mapping[str, Any]) -> str:
    """Mean and standard deviation over folds, `.522 ± .031`; the pooled score where there is no mean over folds."""
    if metric.get("mean") is None:
        return score(metric.get("pooled"))
    deviation = metric.get("std_folds")
    return score(metric["mean"]) + (f" ± {score(deviation)}" if deviation is not None else "")


def bounds(low: float | None, high: float | None) -> str:
    """An interval, `[.48, .55]`."""
    return "" if low is None or high is None else f"[{score(low)}, {score(high)}]"


def points(value: float | None) -> str:
    """A difference of scores in points (hundredths), with its sign."""
    return "–" if value is None else f"{100 * value:+.1f}"


def probability(value: float | None) -> str:
    """A p-value."""
    if value is None:
        return "–"
    return "< .001" if value < 0.001 else score(round(value, 3))


def count(value: float | None) -> str:
    """A count, with thousands separated."""
    return "–" if value is None else f"{round(value):,}"
