"""Confusion matrices: counts and row percent, and the difference of two models."""

from typing import Any

import numpy as np

from ser_fusion.reporting.plots.theme import PALETTE


def _frame(classes: list[str], width: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    k = len(classes)
    figure = Figure(figsize=(width, width * 0.98))
    axes = figure.add_subplot()
    axes.set_xlim(-0.5, k - 0.5)
    axes.set_ylim(k - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_xticks(range(k), classes, rotation=38, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(k), classes)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=3)
    axes.tick_params(axis="x", labelcolor=PALETTE["ink"])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("predicted", labelpad=4)
    axes.set_ylabel("true", labelpad=4)
    return figure, axes


def _size(k: int) -> float:
    return 4.0 if k <= 5 else 4.4 if k <= 8 else 4.4 + 0.42 * (k - 8)


def confusion_plot(counts: np.ndarray, classes: list[str]) -> Any:
    """Row percent as shade and number, counts beneath. `counts`: `(classes, classes)`, rows the true class."""
    from matplotlib.patches import FancyBboxPatch

    k = len(classes)
    figure, axes = _frame(classes, _size(k))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = counts / counts.sum(axis=1, keepdims=True)
    for i in range(k):
        for j in range(k):
            value = share[i, j]
            if np.isnan(value):
                continue
            shade = 0.06 + 0.94 * float(value) ** 0.8
            box = FancyBboxPatch(
                (j - 0.46, i - 0.46), 0.92, 0.92, boxstyle="round,pad=0,rounding_size=0.08", mutation_aspect=1,
                facecolor=PALETTE["accent"], alpha=shade, edgecolor="none",
            )  # fmt: skip
            axes.add_patch(box)
            colour = PALETTE["bright"] if shade > 0.68 else PALETTE["ink"]
            weight = "bold" if i == j else "normal"
            axes.text(
                j, i - 0.09, f"{100 * value:.0f}", ha="center", va="center", color=colour, weight=weight, fontsize=10.5
            )
            axes.text(j, i + 0.25, f"{round(counts[i, j]):,}", ha="center", va="center", color=colour, fontsize=6.8)
    return figure


def difference_plot(a: np.ndarray, b: np.ndarray, classes: list[str]) -> Any:
    """Row percent of A minus that of B, in points: one hue where A says it more often, the other where B does."""
    from matplotlib.patches import FancyBboxPatch

    k = len(classes)
    figure, axes = _frame(classes, _size(k))
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = 100 * (a / a.sum(axis=1, keepdims=True) - b / b.sum(axis=1, keepdims=True))
    top = max(float(np.nanmax(np.abs(gap))), 1.0)
    for i in range(k):
        for j in range(k):
            value = gap[i, j]
            if np.isnan(value):
                continue
            shade = 0.85 * abs(float(value)) / top
            box = FancyBboxPatch(
                (j - 0.46, i - 0.46), 0.92, 0.92, boxstyle="round,pad=0,rounding_size=0.08", mutation_aspect=1,
                facecolor=PALETTE["accent" if value >= 0 else "second"], alpha=0.05 + shade, edgecolor="none",
            )  # fmt: skip
            axes.add_patch(box)
            colour = PALETTE["bright"] if shade > 0.66 else PALETTE["ink"]
            text = f"{value:+.0f}" if round(value) else "0"
            weight = "bold" if i == j else "normal"
            axes.text(j, i, text, ha="center", va="center", color=colour, weight=weight, fontsize=10.5)
    return figure
