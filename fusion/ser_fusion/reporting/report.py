"""Writes the report of a run: one HTML file that needs nothing else, and tables and plots as files beside it."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_base.files import replacing, safe_name
from ser_fusion.errors import RecordBroken
from ser_fusion.evaluation.feature_map import better_read
from ser_fusion.evaluation.published import MARGIN, Placed, far_off, place_rows
from ser_fusion.evaluation.records import Judged, Record, read_json, read_record
from ser_fusion.evaluation.run_directory import RunDirectory, job_folders
from ser_fusion.evaluation.run_metrics import evaluate_run
from ser_fusion.reporting import tables, words
from ser_fusion.reporting.feature_map import map_of, map_plot, read_table
from ser_fusion.reporting.figures import (
    class_plot,
    confusion_plot,
    curve_key,
    curve_plot,
    difference_plot,
    draw,
    inline,
    layer_plot,
    overview_plot,
    pairs_plot,
    save,
    svg_text,
)
from ser_fusion.reporting.formats import write_tables
from ser_fusion.reporting.words import count, score

TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    run_dir: str | Path,
    *,
    files: bool = True,
    embed_audio: bool = False,
    anew: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Writes ``report.html``, ``tables/`` and ``plots/`` into a run directory.

    Args:
        run_dir: The run directory; ``metrics.json`` is made if it is missing or older than the predictions.
        files: Also write the tables (Markdown, LaTeX, CSV) and plots (SVG, PNG, PDF) as files.
        embed_audio: Put the hardest utterances' audio into the page; needs the corpus files and makes the page large.
        anew: Compute metrics.json again even if it looks current.
        progress: Called with the name of each step.

    Returns:
        Path of ``report.html``.

    Raises:
        NotARun: The folder is not a run directory.
    """
    run = RunDirectory.open(run_dir)
    step = progress or (lambda name: None)
    step("metrics")
    metrics = evaluate_run(run.path) if anew else current_metrics(run)
    step("plots")
    mapped = map_of(run)
    placed = place_rows(metrics, run.run)
    remarks = [*far_off(placed), *(better_read(mapped) if mapped else ())]
    drawn = plots(run, metrics, mapped, files)
    step("tables")
    shown, everything = tables.report_tables(metrics)
    shown |= {"read": read_table(mapped) if mapped else None, "published": published_table(placed)}
    everything += filter(None, (shown["read"], shown["published"]))
    clips: dict[str, str] = {}
    if embed_audio:
        step("audio")
        clips = audio_clips(run.utterances, [entry["id"] for entry in metrics["hardest"]])
    page = render(
        "report.html.j2",
        run=run.run,
        metrics=metrics,
        headline=words.headline(metrics),
        summary=words.summary(metrics),
        warnings=[*words.warnings(metrics), *remarks],
        names={row["slug"]: row["name"] for row in metrics["rows"]},
        tables=shown,
        **drawn,
        clips=clips,
        explained=explained(run.path / "explain"),
        environment=run.run.get("environment", {}),
        run_name=run.path.name,
    )
    if files:
        write_tables(everything, run.path / "tables")
    target = run.path / "report.html"
    with replacing(target) as scratch:
        scratch.write_text(page, encoding="utf-8")
    return target


class Shares(Record):
    """What each stream contributed to the score of a class."""

    streams: dict[str, float]
    interaction: float


class Explained(Record):
    """What ``ser explain`` wrote of an utterance, as far as the page shows it."""

    id: str
    row: str
    label: str
    predicted: str
    target: str
    shares: Shares


def explained(folder: Path) -> list[dict[str, Any]]:
    """What ``ser explain`` has written of single utterances; other files are left out."""
    made = []
    for path in sorted(folder.glob("*.json")):
        try:
            made.append(read_record(path, Explained))
        except RecordBroken:
            continue
    return made


def published_table(lines: Sequence[Placed]) -> tables.Table | None:
    """One line per row and metric that something comparable is published for; None without any."""
    if not lines:
        return None
    rows = []
    for line in lines:
        texts = (line.row, line.metric, score(line.value), line.range, line.verdict, line.systems)
        rows.append(tables.Row(tuple(tables.Cell(text) for text in texts), quiet=line.verdict == "within"))
    notes = (
        "Published scores on the same labels, with folds that hold out the same as far as the papers say how they were drawn.",
        "They are not a target: layers, heads and development parts differ.",
        f"Far: more than {100 * MARGIN:.0f} points outside the published scores.",
        f"Sources: {'; '.join(dict.fromkeys(source for line in lines for source in line.sources))}.",
    )
    columns = ("Model", "metric", "here", "published", "verdict", "published system")
    return tables.Table("published", "Beside published results", columns, tuple(rows), notes, frozenset({1, 3, 4, 5}))


def current_metrics(run: RunDirectory) -> dict[str, Any]:
    """The content of ``metrics.json``, computed again if a file that it follows from is newer."""
    file = run.path / "metrics.json"
    made_from = [run.path / name for name in ("run.json", "predictions.parquet", "development.parquet", "audit.json")]
    if file.exists() and all(not path.exists() or path.stat().st_mtime <= file.stat().st_mtime for path in made_from):
        try:
            metrics = read_record(file, Judged)
            if "groups" in metrics["unit"]:  # else of an older version
                return metrics
        except RecordBroken:
            pass
    return evaluate_run(run.path)


def render(template: str, folder: Path = TEMPLATES, **content: Any) -> str:
    """A page that needs no other file, from a template that may use ``parts.html.j2`` and gets ``style``.

    Args:
        template: Its file name.
        folder: Where it lies.
        content: What it shows.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(score=score, count=count)
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return pages.get_template(template).render(style=style, **content)


@dataclass(frozen=True)
class Plot:
    """One plot of the page: its inline SVG, caption and file name (without suffix)."""

    svg: str
    caption: str
    file: str


class Drawer:
    """Draws plots into a folder; with ``files=False`` it makes only what the page needs."""

    def __init__(self, folder: Path, files: bool) -> None:
        self.folder, self.files = folder, files

    def __call__(self, name: str, caption: str, make: Callable[..., Any], *data: Any) -> Plot:
        """Draws one figure, writes its files and returns its inline form."""
        file = safe_name(name)
        figure = draw(make, *data)
        svg = svg_text(figure, file)
        if self.files:
            save(figure, svg, self.folder, file)
        return Plot(inline(svg, file, caption), caption, file)


def plots(run: RunDirectory, metrics: dict[str, Any], mapped: dict[str, Any] | None, files: bool) -> dict[str, Any]:
    """All plots of the page, by their places: ``curves``, ``layers``, ``by_row``, ``overview``, ``differences``, ``maps``.

    Args:
        run: The run.
        metrics: Its metrics.json.
        mapped: Its map.json, where it has one.
        files: Whether they are written as files too.
    """
    drawer, entries = Drawer(run.path / "plots", files), run.run.get("cache", {}).get("entries", {})
    return {
        "curves": curves(run.path, metrics, drawer),
        "layers": layer_weights(run.path, metrics, entries, drawer),
        "by_row": confusions(metrics, drawer),
        "overview": overview(metrics, drawer),
        "differences": differences(metrics, drawer),
        "maps": maps(mapped, drawer) if mapped else [],
    }


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


def curves(run_dir: Path, metrics: dict[str, Any], drawer: Drawer) -> list[Plot]:
    """Learning curves of every trained row that has any."""
    plots = []
    for row in metrics["rows"]:
        records = [curve for curve in _jobs(run_dir, row["slug"], "curve.json") if isinstance(curve, list) and curve]
        key = curve_key(records)
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


# Audio of single utterances as data URLs, for `--embed-audio`. The page then holds corpus content: mind its licence.
RATE = 16_000
SECONDS = 15.0  # longer utterances are cut
TOTAL = 12 * 2**20  # bytes of all clips together


def audio_clips(utterances: pd.DataFrame, ids: Sequence[str]) -> dict[str, str]:
    """Clips of these utterances as FLAC data URLs; what cannot be read, or would make the page too large, is left out.

    Args:
        utterances: Index = id, columns ``path``, and ``start``, ``end`` in seconds.
        ids: which.
    """
    import soundfile

    from ser_data.media.audio import AudioError, Limits
    from ser_data.media.isolated import IsolatedDecoder

    clips: dict[str, str] = {}
    size = 0
    with IsolatedDecoder(limits=Limits(keep_truncated=True)) as decoder:
        for name in ids:
            path = utterances["path"].get(name) if "path" in utterances else None
            if not isinstance(path, str):
                continue
            start, end = (
                float(value) if column in utterances and pd.notna(value := utterances[column].get(name)) else None
                for column in ("start", "end")
            )
            try:
                samples = decoder.load(path, RATE, start=start, end=end)[: int(SECONDS * RATE)]
            except AudioError:
                continue
            buffer = io.BytesIO()
            soundfile.write(buffer, samples, RATE, format="FLAC", subtype="PCM_16")
            size += buffer.tell()
            if size > TOTAL:
                break
            clips[name] = "data:audio/flac;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return clips
