"""Recall of each class with its interval over speakers."""

from typing import Any

from ser_fusion.reporting.plots.theme import PALETTE


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
