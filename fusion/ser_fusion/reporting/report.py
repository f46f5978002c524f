"""Writes the report of a run: one HTML file that needs nothing else, and tables and plots as files beside it."""

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ser_base.files import replacing
from ser_fusion.errors import RecordBroken
from ser_fusion.evaluation.feature_map import better_read
from ser_fusion.evaluation.published import MARGIN, Placed, far_off, place_rows
from ser_fusion.evaluation.records import Judged, Record, read_record
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.evaluation.run_metrics import evaluate_run
from ser_fusion.reporting import tables, words
from ser_fusion.reporting.feature_map import map_of, read_table
from ser_fusion.reporting.formats import write_tables
from ser_fusion.reporting.plots import plots
from ser_fusion.reporting.words import count, score

TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    run_dir: str | Path,
    *,
    files: bool = True,
    embed_audio: bool = False,
    anew: bool = False,
    reuse: bool = False,
    workers: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Writes ``report.html``, ``tables/`` and ``plots/`` into a run directory.

    Args:
        run_dir: The run directory; ``metrics.json`` is made if it is missing or older than the predictions.
        files: Also write the tables (Markdown, LaTeX, CSV) and plots (SVG, PNG, PDF) as files.
        embed_audio: Put the hardest utterances' audio into the page; needs the corpus files and makes the page large.
        anew: Compute metrics.json again even if it looks current.
        reuse: Leave plots alone that show the same already, in the folder of a run of one's own.
        workers: Processes that draw, where there are many plots.
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
    drawn = plots(run, metrics, mapped, files, workers, reuse)
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
