"""The plots of the report, and the one of ``ser probe``: what was measured in, a matplotlib figure out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_fusion.reporting.drawing import PALETTE

if TYPE_CHECKING:
    import pandas as pd


def overview_plot(rows: list[dict[str, Any]], chance: float) -> Any:
    """Dots with intervals, best on top within heads and within references.

    Args:
        rows: Of metrics.json.
        chance: UWA of guessing, 1/K.
    """
    from matplotlib.figure import Figure

    def pooled(row: dict[str, Any]) -> float:
        return float(row["metrics"]["UWA"]["pooled"])

    trained = sorted((row for row in rows if row["kind"] != "reference"), key=pooled, reverse=True)
    references = sorted((row for row in rows if row["kind"] == "reference"), key=pooled, reverse=True)
    figure = Figure(figsize=(4.6, 0.62 + 0.235 * (len(rows) + 0.6)))
    axes = figure.add_subplot()
    ticks, names = [], []
    place = 0.0
    for group, colour, size in ((trained, "accent", 6.5), (references, "quiet", 5.0)):
        for row in group:
            uwa = row["metrics"]["UWA"]
            if uwa["low"] is not None:
                axes.plot(
                    [uwa["low"], uwa["high"]],
                    [place, place],
                    color=PALETTE[colour],
                    lw=2.2,
                    alpha=0.55,
                    solid_capstyle="round",
                )
            axes.plot([uwa["pooled"]], [place], "o", color=PALETTE[colour], ms=size)
            ticks.append(place)
            names.append(row["name"])
            place += 1.0
        place += 0.6
    axes.axvline(chance, color=PALETTE["second"], lw=1.0, ls=(0, (4, 3)))
    axes.annotate(
        "chance, 1/K",
        (chance, -1.0),
        (5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=PALETTE["second"],
    )
    axes.set_yticks(ticks, names)
    axes.set_ylim(place - 0.9, -1.4)
    lows = [row["metrics"]["UWA"]["low"] for row in rows if row["metrics"]["UWA"]["low"] is not None]
    highs = [row["metrics"]["UWA"]["high"] for row in rows if row["metrics"]["UWA"]["high"] is not None]
    axes.set_xlim(max(0.0, min([*lows, chance]) - 0.03), min(1.0, max([*highs, *map(pooled, rows)]) + 0.03))
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("pooled UWA, 95 % interval over speakers")
    return figure


def pairs_plot(pairs: list[dict[str, Any]]) -> Any:
    """Differences of the declared pairs with their intervals, in points of UWA; what lies across zero shows nothing."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 0.7 + 0.3 * len(pairs)))
    axes = figure.add_subplot()
    for place, pair in enumerate(pairs):
        colour = PALETTE["accent" if pair["significant"] else "quiet"]
        if pair["low"] is not None:
            axes.plot(
                [100 * pair["low"], 100 * pair["high"]],
                [place, place],
                color=colour,
                lw=2.4,
                alpha=0.6,
                solid_capstyle="round",
            )
        axes.plot([100 * pair["difference"]], [place], "o", color=colour, ms=6.5)
    axes.axvline(0, color=PALETTE["soft"], lw=1)
    axes.set_yticks(range(len(pairs)), [f"{pair['a']} - {pair['b']}" for pair in pairs])
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("points of pooled UWA, 95 % interval")
    return figure


def class_plot(per_class: list[dict[str, Any]]) -> Any:
    """Bars of recall; the number of true utterances stands beside the name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 0.62 + 0.33 * len(per_class)))
    axes = figure.add_subplot()
    for place, entry in enumerate(per_class):
        if entry["recall"] is None:
            continue
        axes.barh(place, entry["recall"], height=0.62, color=PALETTE["accent"], alpha=0.32)
        if entry["recall_low"] is not None:
            low, high = max(entry["recall_low"], 0.0), min(entry["recall_high"], 1.0)
            axes.plot([low, high], [place, place], color=PALETTE["accent"], lw=1.8, solid_capstyle="round")
        axes.plot([entry["recall"]], [place], "o", color=PALETTE["accent"], ms=4.6)
    axes.set_yticks(range(len(per_class)), [f"{entry['class']}  ({round(entry['n']):,})" for entry in per_class])
    axes.set_ylim(len(per_class) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("recall, 95 % interval over speakers")
    return figure


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
    """Row percent as shade and number, counts beneath. ``counts``: ``(classes, classes)``, rows the true class."""
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


def curve_plot(curves: list[list[dict[str, Any]]], key: str) -> Any:
    """Args:
    curves: per job the epochs' records.
    key: which quantity.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(3.9, 2.3))
    axes = figure.add_subplot()
    longest = max(len(curve) for curve in curves)
    values = np.full((len(curves), longest), np.nan)
    for i, curve in enumerate(curves):
        values[i, : len(curve)] = [float(epoch[key]) for epoch in curve]
        axes.plot(range(1, len(curve) + 1), values[i, : len(curve)], color=PALETTE["accent"], lw=0.8, alpha=0.28)
        axes.plot([len(curve)], [values[i, len(curve) - 1]], ".", color=PALETTE["accent"], ms=3, alpha=0.5)
    enough = (~np.isnan(values)).sum(axis=0) * 2 >= len(curves)
    axes.plot(np.arange(1, longest + 1)[enough], np.nanmean(values[:, enough], axis=0), color=PALETTE["accent"], lw=2.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    axes.tick_params(length=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel("development UWA" if key.lower() == "dev_uwa" else "development loss")
    return figure


def layer_plot(weights: np.ndarray, layers: list[str]) -> Any:
    """Args:
    weights: ``(jobs, layers)``, rows sum to 1.
    layers: their names.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.9, 2.2))
    axes = figure.add_subplot()
    places = np.arange(len(layers))
    axes.bar(places, weights.mean(axis=0), width=0.66, color=PALETTE["accent"], alpha=0.35)
    for row in weights:
        axes.plot(places, row, ".", color=PALETTE["accent"], ms=3.2, alpha=0.55)
    axes.axhline(1 / len(layers), color=PALETTE["second"], lw=1, ls=(0, (4, 3)))
    axes.set_xticks(places, layers)
    axes.set_ylim(0, None)
    axes.grid(axis="y")
    axes.tick_params(length=0)
    axes.set_xlabel("layer")
    axes.set_ylabel("weight")
    return figure


def plot_layers(lines: "pd.DataFrame", path: Path, chance: float, title: str) -> None:
    """Draws ``probe.summary``'s lines.

    Args:
        lines: One line per stream, encoder, layer and pooling.
        path: PNG, SVG or PDF by its ending.
        chance: 1 / number of classes, drawn as a line.
        title: Corpus and protocol.
    """
    from matplotlib.figure import Figure

    groups = list(lines.groupby(["stream", "encoder", "pooling"], sort=False))
    figure = Figure(figsize=(4.2 * len(groups), 3.4), layout="constrained")
    axes = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    for axis, ((stream, encoder, pooling), part) in zip(axes, groups, strict=True):
        axis.plot(part["layer"], part["dev_uwa"], "o--", color="#7a7a7a", label="development")
        error = part["uwa_std"].fillna(0.0)
        axis.errorbar(
            part["layer"], part["uwa"], error, fmt="o-", color="#0072b2", capsize=3, label="test (± std over folds)"
        )
        chosen = part[part["chosen"]]
        axis.plot(
            chosen["layer"], chosen["uwa"], "o", ms=11, mfc="none", mec="#d55e00", mew=2, label="chosen on development"
        )
        axis.axhline(chance, color="black", lw=0.8, ls=":", label="chance")
        axis.set_title(f"{stream}: {encoder}, {pooling}", fontsize=9)
        axis.set_xlabel("layer")
        axis.set_xticks(sorted(part["layer"].unique()))
    axes[0].set_ylabel("UWA")
    axes[0].legend(fontsize=7, loc="best")
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150)
