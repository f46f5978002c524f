"""Shows the map of features as figures, table and sentences; ``map.json`` of a run, and the files of ``ser probe --map``."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser_base.files import write_json
from ser_fusion.errors import CacheGone, RecordBroken, RecordMissing
from ser_fusion.evaluation.audit import run_features
from ser_fusion.evaluation.feature_map import FeatureMap, feature_map, share
from ser_fusion.evaluation.records import read_record
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.reporting.drawing import draw, save, svg_text
from ser_fusion.reporting.formats import write_tables
from ser_fusion.reporting.tables import Cell, Row, Table
from ser_fusion.reporting.words import count, score

NAME = "map.json"
COLOURS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#994f00", "#7f7f7f", "#117733", "#882255",
    "#44aa99", "#999933",
)  # fmt: skip
"""Readable on light and on dark pages, and by most colour-blind readers (Paul Tol's schemes)."""
LEGEND = 12
"""A column of more values has colours and not a legend."""


def map_run(
    run_dir: str | Path, methods: Sequence[str], progress: Callable[[str], None] = lambda step: None
) -> dict[str, Any]:
    """Makes the map of a run's features and writes ``map.json`` into its directory.

    Raises:
        NotARun: The folder is not a run directory.
        CacheGone: The run's cache is missing, or holds other features now.
    """
    run = RunDirectory.open(run_dir)
    table = run.utterances.sort_index()
    pooled = run_features(run, table).get("mean")
    if not pooled:
        raise CacheGone(str(run.path), str(run.run.get("cache", {}).get("path")))
    entries = run.run["cache"]["entries"]
    features = {
        name: (str(entries[name]["encoder"]), int(entries[name]["layer"]), values) for name, values in pooled.items()
    }
    content = feature_map(table.assign(**{"class": table["label"]}), features, methods, tell=progress)
    content["data_fingerprint"] = run.run.get("data_fingerprint")
    write_json(run.path / NAME, content)
    return content


def map_of(run: RunDirectory) -> dict[str, Any] | None:
    """Reads ``map.json`` of a run, if it is there and of the features that the run was made from."""
    try:
        content = read_record(run.path / NAME, FeatureMap)
    except (RecordMissing, RecordBroken):
        return None
    lengths = {len(values) for values in content["columns"].values()}
    lengths |= {len(places) for stream_map in content["streams"].values() for places in stream_map["places"].values()}
    whole = lengths <= {len(content["ids"])}
    return content if whole and content.get("data_fingerprint") == run.run.get("data_fingerprint") else None


def write_map(content: dict[str, Any], folder: Path) -> Table:
    """Writes ``map.json``, the table and the figures into a folder; the table is returned."""
    write_json(folder / NAME, content)
    table = read_table(content)
    write_tables([table], folder)
    for stream, stream_map in content["streams"].items():
        for method, places in stream_map["places"].items():
            name = f"map-{stream}-{method}"
            figure = draw(map_plot, places, content)
            save(figure, svg_text(figure, name), folder, name)
    return table


def map_plot(places: Sequence[Sequence[float]], content: dict[str, Any]) -> Any:
    """Draws one panel per column, with the same places; colours tell the column's values, named where they are few."""
    from matplotlib.figure import Figure

    columns = content["columns"]
    x, y = np.asarray(places, dtype=np.float64).T
    wide = min(3, len(columns))
    tall = -(-len(columns) // wide)
    figure = Figure(figsize=(3.6 * wide, 4.1 * tall))
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.16 / tall, top=0.95, wspace=0.06, hspace=0.36)
    for panel, (column, values) in enumerate(columns.items()):
        axes = figure.add_subplot(tall, wide, panel + 1)
        names = np.array([value or "" for value in values], dtype=np.str_)
        distinct, counts = np.unique(names[names != ""], return_counts=True)
        axes.scatter(x[names == ""], y[names == ""], s=4, c="#9aa3b5", linewidths=0, rasterized=True)
        for number, value in enumerate(distinct[np.argsort(-counts, kind="stable")]):
            own, colour, label = names == value, COLOURS[number % len(COLOURS)], str(value)[:18]
            axes.scatter(x[own], y[own], s=6, c=colour, alpha=0.75, linewidths=0, label=label, rasterized=True)
        axes.set_title(f"{column} ({len(distinct):,})")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        if len(distinct) <= LEGEND:
            axes.legend(
                fontsize=7, markerscale=1.6, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4,
                handletextpad=0.1, columnspacing=0.8,
            )  # fmt: skip
    return figure


def read_table(content: dict[str, Any]) -> Table:
    """Makes the table of what the linear probe reads of each column, from every stream."""
    lines: list[Row] = []
    for stream, stream_map in content["streams"].items():
        for number, line in enumerate(stream_map["read"]):
            texts = (
                f"{stream}: {line['column']}", count(line["values"]), count(line["n"]), score(line["uwa"]),
                score(line["chance"]), f"{100 * share(line):.0f} %",
                "new speakers" if line["held_out"] == "speaker" else "other utterances",
            )  # fmt: skip
            lines.append(Row(tuple(Cell(text) for text in texts), rule=bool(lines) and number == 0))
    frames = "; ".join(
        f"{stream}: layer {stream_map['layer']} of {stream_map['encoder']}"
        for stream, stream_map in content["streams"].items()
    )
    drawn = (
        f" {content['n']:,} of {content['of']:,} utterances, drawn at random." if content["n"] < content["of"] else ""
    )
    notes = (
        f"The linear probe of the reference rows, in at most five folds, on the mean of the frames ({frames}).{drawn}",
        "UWA: mean recall over the values. Way: from a guess (0 %) to certainty (100 %), to compare columns with each other.",
        "Tested on new speakers where every value has two or more; else on other utterances of the same speakers.",
    )
    columns = ("Stream: column", "values", "n", "UWA", "guess", "way", "tested on")
    return Table(
        "read-from-features", "What a linear probe reads from the frames", columns, tuple(lines), notes, frozenset({6})
    )
