"""Learned layer weights, mean over folds and seeds, each job a dot."""

from typing import Any

import numpy as np

from ser_fusion.reporting.plots.theme import PALETTE


def layer_plot(weights: np.ndarray, layers: list[str]) -> Any:
    """Args:
    weights: `(jobs, layers)`, rows sum to 1.
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
