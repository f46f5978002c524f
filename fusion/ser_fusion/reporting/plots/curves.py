"""Learning curves: development UWA (or loss) by epoch, one line for each fold and seed, their mean on top."""

from typing import Any

import numpy as np

from ser_fusion.reporting.plots.theme import PALETTE

WANTED = ("dev_uwa", "dev_UWA", "dev_loss")


def curve_key(curves: list[list[dict[str, Any]]]) -> str | None:
    """The quantity that all epochs of all jobs carry: development UWA if there, else development loss."""
    for key in WANTED:
        if curves and all(epoch.get(key) is not None for curve in curves for epoch in curve):
            return key
    return None


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
