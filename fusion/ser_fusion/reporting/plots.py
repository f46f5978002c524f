"""The plots of a report by their places on the page, drawn on several processes where they are many."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ser_base.files import safe_name, write_json
from ser_base.workers import Pool
from ser_fusion.errors import RecordBroken, RecordMissing
from ser_fusion.evaluation.records import Record, check, read_json
from ser_fusion.evaluation.run_directory import RunDirectory, job_folders
from ser_fusion.reporting import drawing
from ser_fusion.reporting.drawing import Asked, drawn
from ser_fusion.reporting.feature_map import map_plot
from ser_fusion.reporting.figures import (
    class_plot,
    confusion_plot,
    curve_plot,
    difference_plot,
    layer_plot,
    overview_plot,
    pairs_plot,
)

FEW = 6
"""Plots that one process draws before another one has begun."""
CURVES = ("dev_uwa", "dev_UWA", "dev_loss")
NOTE = "drawn.json"
KINDS = ("svg", "png", "pdf")


@dataclass
class Plot:
    """One plot of the page.

    Attributes:
        svg: Inline; empty until it is drawn.
        caption: What stands beneath it.
        file: Its file name, without suffix.
    """

    svg: str
    caption: str
    file: str


class Drawer:
    """Notes plots, and then draws all of them.

    Args:
        folder: Where their files are written.
        files: Whether there are any; else only what the page needs is made.
        reuse: Leave files alone that show the same already, and note what is shown.
    """

    def __init__(self, folder: Path, files: bool, reuse: bool = False) -> None:
        self._folder = folder if files else None
        self._reuse = reuse
        self._plots: list[Plot] = []
        self._asked: list[Asked] = []

    def __call__(self, name: str, caption: str, make: Callable[..., Any], *data: Any) -> Plot:
        """Notes one figure: its name, its caption, and a function of ``figures`` with its data."""
        file = safe_name(name)
        self._plots.append(Plot("", caption, file))
        self._asked.append((file, caption, make, data))
        return self._plots[-1]

    def draw(self, workers: int) -> None:
        """Draws what was noted, on at most so many processes; the files are the same on one as on several."""
        kept, shown = {}, {}
        if self._reuse and self._folder is not None:
            kept, shown = drawn_before(self._folder), {asked[0]: mark_of(asked) for asked in self._asked}
        done = {file for file, mark in shown.items() if kept.get(file, {}).get("shows") == mark}
        folders = [None if asked[0] in done else self._folder for asked in self._asked]
        workers = min(workers, len(self._asked) // FEW)
        for number, svg in self._here(folders) if workers < 2 else self._there(folders, workers):
            self._plots[number].svg = svg
        if shown and self._folder is not None:
            now = {file: {"shows": mark, "files": _hashes(self._folder, file)} for file, mark in shown.items()}
            write_json(self._folder / NOTE, now)

    def _here(self, folders: Sequence[Path | None]) -> Iterator[tuple[int, str]]:
        return ((n, drawn(asked, folder)) for n, (asked, folder) in enumerate(zip(self._asked, folders, strict=True)))

    def _there(self, folders: Sequence[Path | None], workers: int) -> Iterator[tuple[int, str]]:
        pool = Pool(drawing.work, (self._asked, folders), [()] * workers, drawing.server(), ahead=1)
        return pool.run(range(len(self._asked)))


# Files of a plot that shows the same as before are left alone: PNG and PDF are most of the work. What stands in the page is
# drawn each time, so that nothing that lies in a folder gets into it.
class Kept(Record):
    """An entry of ``drawn.json``: what a plot shows, and the hash of each of its files."""

    shows: str
    files: dict[str, str]


def mark_of(asked: Asked) -> str:
    """xxh3-128 of all that a plot's files follow from: name, data, code and matplotlib's version."""
    file, _, make, data = asked
    digest = xxhash.xxh3_128(Path(make.__code__.co_filename).read_bytes() + Path(drawing.__file__).read_bytes())
    facts = (file, make.__qualname__, version("matplotlib"), data)
    digest.update(json.dumps(facts, default=lambda value: value.tolist()).encode())
    return digest.hexdigest()


def drawn_before(folder: Path) -> dict[str, Any]:
    """Entries of ``drawn.json`` whose files are as they were written; none where it cannot be read."""
    try:
        noted = {name: check(entry, Kept, folder / NOTE) for name, entry in read_json(folder / NOTE).items()}
    except (RecordMissing, RecordBroken, AttributeError):
        return {}
    return {
        name: entry
        for name, entry in noted.items()
        if safe_name(name) == name and entry["files"] == _hashes(folder, name)
    }


def _hashes(folder: Path, file: str) -> dict[str, str]:
    paths = {kind: folder / f"{file}.{kind}" for kind in KINDS}
    return {
        kind: xxhash.xxh3_128_hexdigest(path.read_bytes()) if path.is_file() and not path.is_symlink() else ""
        for kind, path in paths.items()
    }


def plots(
    run: RunDirectory,
    metrics: dict[str, Any],
    mapped: dict[str, Any] | None,
    files: bool,
    workers: int = 1,
    reuse: bool = False,
) -> dict[str, Any]:
    """All plots of the page, by their places: ``curves``, ``layers``, ``by_row``, ``overview``, ``differences``, ``maps``.

    Args:
        run: The run.
        metrics: Its metrics.json.
        mapped: Its map.json, where it has one.
        files: Whether they are written as files too.
        workers: Processes that draw.
        reuse: Leave files of plots alone that show the same as before.
    """
    drawer, entries = Drawer(run.path / "plots", files, reuse), run.run.get("cache", {}).get("entries", {})
    placed = {
        "curves": curves(run.path, metrics, drawer),
        "layers": layer_weights(run.path, metrics, entries, drawer),
        "by_row": confusions(metrics, drawer),
        "overview": overview(metrics, drawer),
        "differences": differences(metrics, drawer),
        "maps": maps(mapped, drawer) if mapped else [],
    }
    drawer.draw(workers)
    return placed


def maps(mapped: dict[str, Any], drawer: Drawer) -> list[Plot]:
    """One figure per stream and method."""
    return [
        drawer(f"map-{stream}-{method}", f"{stream}, {method}: each point is an utterance", map_plot, places, mapped)
        for stream, stream_map in mapped["streams"].items()
        for method, places in stream_map["places"].items()
    ]


def overview(metrics: dict[str, Any], drawer: Drawer) -> list[Plot]:
    """All rows beside chance, and the declared pairs."""
    shown = [row for row in metrics["rows"] if row["kind"] != "lost"]
    plots = [drawer("overview", "Pooled UWA of every row", overview_plot, shown, 1 / len(metrics["classes"]))]
    declared = [pair for pair in metrics["comparisons"] if pair["family"] != "exploratory"]
    if declared:
        plots.append(drawer("pairs", "Declared comparisons", pairs_plot, declared))
    return plots


def confusions(metrics: dict[str, Any], drawer: Drawer) -> dict[str, dict[str, Plot]]:
    """Per trained row its confusion matrix and class recalls."""
    plots = {}
    for row in metrics["rows"]:
        if row["kind"] in ("reference", "lost"):
            continue
        counts = np.asarray(row["confusion"])
        plots[row["slug"]] = {
            "confusion": drawer(
                f"confusion-{row['slug']}",
                f"{row['name']}: percent of the true class, counts beneath",
                confusion_plot,
                counts,
                metrics["classes"],
            ),
            "classes": drawer(f"recall-{row['slug']}", f"{row['name']}: recall by class", class_plot, row["per_class"]),
        }
    return plots


def differences(metrics: dict[str, Any], drawer: Drawer) -> list[Plot]:
    """Difference of the confusion matrices of the primary pairs."""
    counts = {row["slug"]: np.asarray(row["confusion"]) for row in metrics["rows"]}
    plots = []
    for pair in metrics["comparisons"]:
        if pair["family"] == "primary":
            a, b = pair["slug_a"], pair["slug_b"]
            caption = f"{pair['a']} minus {pair['b']}: points of row percent"
            plots.append(
                drawer(f"difference-{a}-{b}", caption, difference_plot, counts[a], counts[b], metrics["classes"])
            )
    return plots


def _jobs(run_dir: Path, slug: str, file: str) -> list[Any]:
    """The JSON of one file name over the jobs of a row; unreadable ones are left out, and slugs that lead elsewhere."""
    contents: list[Any] = []
    if safe_name(slug) != slug:
        return contents
    for job in job_folders(run_dir, slug):
        try:
            contents.append(read_json(job / file))
        except RecordBroken:
            continue
    return contents


def _curve_key(curves: list[list[dict[str, Any]]]) -> str | None:
    """The quantity that all epochs of all jobs carry: development UWA if there, else development loss."""
    for key in CURVES:
        if curves and all(epoch.get(key) is not None for curve in curves for epoch in curve):
            return key
    return None


def curves(run_dir: Path, metrics: dict[str, Any], drawer: Drawer) -> list[Plot]:
    """Learning curves of every trained row that has any."""
    plots = []
    for row in metrics["rows"]:
        records = [curve for curve in _jobs(run_dir, row["slug"], "curve.json") if isinstance(curve, list) and curve]
        key = _curve_key(records)
        if key:
            plots.append(
                drawer(f"curves-{row['slug']}", f"{row['name']} ({len(records)} jobs)", curve_plot, records, key)
            )
    return plots


def layer_weights(run_dir: Path, metrics: dict[str, Any], entries: dict[str, Any], drawer: Drawer) -> list[Plot]:
    """Learned layer weights, where heads have them: ``layer_weights`` of head.json, stream to one weight per layer.

    Args:
        run_dir: The run directory.
        metrics: Of the run.
        entries: ``cache.entries`` of run.json, which name the layers.
        drawer: draws.
    """
    plots = []
    for row in metrics["rows"]:
        by_stream: dict[str, list[list[float]]] = {}
        for head in _jobs(run_dir, row["slug"], "head.json"):
            streams = head.get("layer_weights") if isinstance(head, dict) else None
            for stream, weights in (streams or {}).items():
                by_stream.setdefault(stream, []).append([float(weight) for weight in weights])
        for stream, jobs in by_stream.items():
            layers = len(jobs[0])
            if layers > 1 and all(len(job) == layers for job in jobs):
                stored = entries.get(stream, {}).get("layers") or []
                names = [str(layer) for layer in (stored if len(stored) == layers else range(layers))]
                caption = f"{row['name']}, {stream}"
                plots.append(drawer(f"layers-{row['slug']}-{stream}", caption, layer_plot, np.array(jobs), names))
    return plots
