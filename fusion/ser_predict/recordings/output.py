"""Predictions as people and programs read them: a table, CSV, JSON lines, and the timeline of a long recording."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ser_predict.recordings.pieces import COLUMNS, UNSURE, Prediction
from ser_predict.recordings.segments import TIMELINES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_csv(predictions: "Iterable[Prediction]", classes: Sequence[str], out: TextIO) -> None:
    """One line per prediction: the columns above and ``p_<class>``; a cell that a spreadsheet would take for a formula gets
    an apostrophe in front."""
    names = [*COLUMNS, *(f"p_{name}" for name in classes)]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for prediction in predictions:
        writer.writerow({name: _cell(value) for name, value in prediction.as_dict().items()})
        out.flush()


def write_jsonl(predictions: "Iterable[Prediction]", out: TextIO) -> None:
    """One JSON object per line; posteriors in an object of their own."""
    for prediction in predictions:
        out.write(json.dumps(prediction.as_object(), ensure_ascii=False) + "\n")
        out.flush()


def save(predictions: "Sequence[Prediction]", classes: Sequence[str], path: Path) -> None:
    """A .csv, .json or .jsonl file, or one of ``TIMELINES``; its folder is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as out:
        if path.suffix in TIMELINES:
            out.write(TIMELINES[path.suffix](predictions))
        elif path.suffix == ".json":
            lines = [prediction.as_object() for prediction in predictions]
            out.write(json.dumps(lines, indent=1, ensure_ascii=False) + "\n")
        elif path.suffix == ".csv":
            write_csv(predictions, classes, out)
        else:
            write_jsonl(predictions, out)


def table(predictions: "Sequence[Prediction]") -> Any:
    """A rich table without the files that failed. It shows file names, and whole paths where two names are the same."""
    from rich.table import Table
    from rich.text import Text

    files = {prediction.file for prediction in predictions}
    same = len({Path(file).name for file in files}) < len(files)
    windows = any(prediction.window for prediction in predictions)
    shown = Table("file", *(["from", "to"] if windows else []), "label", "confidence", "next", "text", box=None)
    for line in predictions:
        if line.error is not None:
            continue
        second = sorted(line.posteriors.items(), key=lambda item: -item[1])[1:2]
        guess = f" ({line.best}?)" if line.label != line.best else ""
        source = " (recognised)" if line.text_source == "recognised" else ""
        cells = [
            line.file if same else Path(line.file).name,
            *([clock(line.start), clock(line.end)] if windows else []),
            f"{line.label}{guess}",
            f"{line.confidence:.2f}",
            f"{second[0][0]} {second[0][1]:.2f}" if second else "",
            f"{line.text}{source}" if line.text else "-",
        ]
        shown.add_row(*(Text(cell, overflow="fold") for cell in cells))  # Text: a file name may hold [brackets]
    return shown


def clock(seconds: float | None) -> str:
    return "" if seconds is None else f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


# The timeline of a long recording: posteriors over time, and the label of each stretch.
COLOURS = (  # Okabe and Ito: colour-blind readers can tell them apart
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#8c8c8c", "#5b3a8c", "#7a5c3d",
)  # fmt: skip
UNKNOWN = "#d5d9e2"
OUTLINE = 0.1
"""Seconds of one value of a recording's outline."""


def strip(predictions: Sequence[Prediction], classes: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posteriors along time: overlapping windows are averaged.

    Returns:
        Borders in seconds (n + 1,) and the mean posteriors between them (n, classes); NaN where no window has a prediction.
    """
    borders = np.unique([edge for line in predictions for edge in (line.start, line.end or line.start)])
    total, count = np.zeros((len(borders) - 1, len(classes))), np.zeros(len(borders) - 1)
    middles = (borders[:-1] + borders[1:]) / 2
    for line in predictions:
        if line.error is None:
            inside = (middles > line.start) & (middles < (line.end or line.start))
            total[inside] += [line.posteriors[name] for name in classes]
            count[inside] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return borders, total / count[:, None]


def stretches(
    predictions: Sequence[Prediction], classes: Sequence[str], threshold: float
) -> list[tuple[float, float, str | None, float]]:
    """Start, end, label (``unsure`` below the threshold; None where nothing could be predicted) and mean posterior of the
    stretches of one label."""
    borders, values = strip(predictions, classes)
    spans: list[tuple[float, float, str | None, float]] = []
    for start, end, row in zip(borders[:-1], borders[1:], values, strict=True):
        top = None if np.isnan(row).any() else int(row.argmax())
        label = None if top is None else classes[top] if row[top] >= threshold else UNSURE
        belief = float("nan") if top is None else float(row[top])
        if spans and spans[-1][2] == label:
            first, last, _, mean = spans[-1]
            share = (last - first) / (end - first)
            spans[-1] = (first, float(end), label, mean * share + belief * (1 - share))
        else:
            spans.append((float(start), float(end), label, belief))
    return spans


def draw_timeline(predictions: Sequence[Prediction], classes: Sequence[str], threshold: float, path: Path) -> Path:
    """Draws one recording's timeline; the ending of ``path`` says how (.png, .svg, .pdf).

    Args:
        predictions: The windows of one recording, in order.
        classes: Class names.
        threshold: Below this posterior a stretch is ``unsure``.
        path: File to write.
    """
    from ser_fusion.reporting.drawing import draw

    figure = draw(timeline, predictions, classes, threshold)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, facecolor="white", bbox_inches="tight")
    return path


def timeline(
    predictions: Sequence[Prediction],
    classes: Sequence[str],
    threshold: float,
    outline: NDArray[np.float32] | None = None,
) -> "Figure":
    """The figure of one recording's predictions; above them its ``outline``, the largest value of each 100 ms, 0 to 1."""
    from matplotlib.figure import Figure

    borders, values = strip(predictions, classes)
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(classes)}
    heights = [6, 1] if outline is None else [2, 5, 1]
    figure = Figure(figsize=(9, 3.6 if outline is None else 4.4))
    *top, upper, lower = figure.subplots(
        len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights, "hspace": 0.12}
    )
    if outline is not None:
        seconds = np.arange(len(outline)) * OUTLINE
        top[0].fill_between(seconds, -outline, outline, color=UNKNOWN, linewidth=0)
        top[0].set_yticks([])
        top[0].set_ylabel("voice")
    bottom = np.zeros(len(values))
    for number, name in enumerate(classes):
        upper.stairs(bottom + values[:, number], borders, baseline=bottom, fill=True, color=colours[name], label=name)
        bottom = bottom + values[:, number]
    upper.set_ylim(0, 1)
    upper.set_ylabel("posterior")
    (top or [upper])[0].set_title(f"{Path(predictions[0].file).name}: posteriors of each window")
    upper.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    _labels(lower, predictions, classes, threshold, colours)
    minutes = borders[-1] > 180
    lower.xaxis.set_major_formatter(lambda x, _: f"{int(x // 60)}:{int(x % 60):02d}" if minutes else f"{x:g}")
    lower.set_xlabel("time, minutes:seconds" if minutes else "time, seconds")
    lower.set_xlim(*((borders[0], borders[-1]) if outline is None else (0, len(outline) * OUTLINE)))
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
