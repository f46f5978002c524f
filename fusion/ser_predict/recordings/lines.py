"""Predictions as a table on the terminal, as CSV, and as JSON lines."""

import csv
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from ser_predict.recordings.pieces import Prediction

COLUMNS = ("file", "start", "end", "label", "confidence", "best", "row", "text", "text_source", "error")
FORMATS = ("table", "csv", "jsonl")


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
        plain = {name: value for name, value in prediction.as_dict().items() if not name.startswith("p_")}
        out.write(json.dumps({**plain, "posteriors": prediction.posteriors}, ensure_ascii=False) + "\n")
        out.flush()


def table(predictions: "Sequence[Prediction]") -> Any:
    """A rich table; files that failed are not in it. Recordings are told by their names where these differ."""
    from pathlib import Path

    from rich.table import Table
    from rich.text import Text

    paths = dict.fromkeys(prediction.file for prediction in predictions)
    short = {file: Path(file).name for file in paths}
    names = short if len(set(short.values())) == len(paths) else {file: file for file in paths}
    windows = any(prediction.window for prediction in predictions)
    shown = Table("file", *(["from", "to"] if windows else []), "label", "confidence", "next", "text", box=None)
    for one in predictions:
        if one.error is not None:
            continue
        second = sorted(one.posteriors.items(), key=lambda item: -item[1])[1:2]
        guess = f" ({one.best}?)" if one.label != one.best else ""
        heard = {"recognised": " (recognised)", "given": ""}.get(one.text_source, "")
        cells = [
            names[one.file],
            *([_clock(one.start), _clock(one.end)] if windows else []),
            f"{one.label}{guess}",
            f"{one.confidence:.2f}",
            f"{second[0][0]} {second[0][1]:.2f}" if second else "",
            f"{one.text}{heard}" if one.text else "-",
        ]
        shown.add_row(*(Text(cell, overflow="fold") for cell in cells))  # Text: a file name may hold [brackets]
    return shown


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
