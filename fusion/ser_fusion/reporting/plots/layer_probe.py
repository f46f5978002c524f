"""The one plot of ``ser probe``: development and test UWA over layers, a panel per stream and pooling."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


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
