"""The timeline of a long recording: posteriors over time, and the label of each stretch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ser_predict.recordings.pieces import UNSURE, Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (  # Okabe and Ito: told apart by colour-blind readers
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#8c8c8c", "#5b3a8c", "#7a5c3d",
)  # fmt: skip
UNKNOWN = "#d5d9e2"


def strip(predictions: Sequence[Prediction], classes: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posteriors along time: overlapping windows are averaged.

    Returns:
        Borders in seconds (n + 1,) and the mean posteriors between them (n, classes); NaN where no window has a prediction.
    """
    borders = np.unique([edge for one in predictions for edge in (one.start, one.end or one.start)])
    total, count = np.zeros((len(borders) - 1, len(classes))), np.zeros(len(borders) - 1)
    middles = (borders[:-1] + borders[1:]) / 2
    for one in predictions:
        if one.error is None:
            inside = (middles > one.start) & (middles < (one.end or one.start))
            total[inside] += [one.posteriors[name] for name in classes]
            count[inside] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return borders, total / count[:, None]


def stretches(
    predictions: Sequence[Prediction], classes: Sequence[str], threshold: float
) -> list[tuple[float, float, str | None, float]]:
    """Start, end, label (``unsure`` below the threshold; None where nothing could be predicted) and mean posterior of the
    stretches of one label."""
    borders, values = strip(predictions, classes)
    found: list[tuple[float, float, str | None, float]] = []
    for start, end, row in zip(borders[:-1], borders[1:], values, strict=True):
        top = None if np.isnan(row).any() else int(row.argmax())
        label = None if top is None else classes[top] if row[top] >= threshold else UNSURE
        belief = float("nan") if top is None else float(row[top])
        if found and found[-1][2] == label:
            first, last, _, mean = found[-1]
            share = (last - first) / (end - first)
            found[-1] = (first, float(end), label, mean * share + belief * (1 - share))
        else:
            found.append((float(start), float(end), label, belief))
    return found


def draw_timeline(predictions: Sequence[Prediction], classes: Sequence[str], threshold: float, path: Path) -> Path:
    """Draws one recording's timeline; the ending of ``path`` says how (.png, .svg, .pdf).

    Args:
        predictions: The windows of one recording, in order.
        classes: Class names.
        threshold: Below this posterior a stretch is ``unsure``.
        path: File to write.
    """
    from ser_fusion.reporting.plots.theme import draw

    figure = draw(_figure, predictions, classes, threshold)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, facecolor="white", bbox_inches="tight")
    return path


def _figure(predictions: Sequence[Prediction], classes: Sequence[str], threshold: float) -> "Figure":
    from matplotlib.figure import Figure

    borders, values = strip(predictions, classes)
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(classes)}
    figure = Figure(figsize=(9, 3.6))
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [6, 1], "hspace": 0.12})
    bottom = np.zeros(len(values))
    for number, name in enumerate(classes):
        upper.stairs(bottom + values[:, number], borders, baseline=bottom, fill=True, color=colours[name], label=name)
        bottom = bottom + values[:, number]
    upper.set_ylim(0, 1)
    upper.set_ylabel("posterior")
    upper.set_title(f"{Path(predictions[0].file).name}: what the heads believe, window by window")
    upper.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    _labels(lower, predictions, classes, threshold, colours)
    minutes = borders[-1] > 180
    lower.xaxis.set_major_formatter(lambda x, _: f"{int(x // 60)}:{int(x % 60):02d}" if minutes else f"{x:g}")
    lower.set_xlabel("time, minutes:seconds" if minutes else "time, seconds")
    lower.set_xlim(borders[0], borders[-1])
    return figure


def _labels(
    axis: Any, predictions: Sequence[Prediction], classes: Sequence[str], threshold: float, colours: dict[str, str]
) -> None:
    spans = stretches(predictions, classes, threshold)
    whole = spans[-1][1] - spans[0][0]
    for start, end, label, _ in spans:
        if label is None:
            continue
        axis.barh(
            0, end - start, left=start, height=1, color=colours.get(label, UNKNOWN), edgecolor="white", linewidth=0.8
        )
        if (end - start) / whole > 0.012 * max(6, len(label)):
            axis.text((start + end) / 2, 0, label, ha="center", va="center", fontsize=8)
    axis.set_yticks([])
    axis.set_ylim(-0.5, 0.5)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
