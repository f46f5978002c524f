"""Writes the report of a run: one HTML file that needs nothing else, and tables and plots as files beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ser_base.files import replacing
from ser_fusion.errors import RecordBroken
from ser_fusion.evaluation.records import Judged, read_record
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.evaluation.run_metrics import evaluate_run
from ser_fusion.reporting import assets, tables, words
from ser_fusion.reporting.text_tables import write_tables
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
    """Writes `report.html`, `tables/` and `plots/` into a run directory.

    Args:
        run_dir: the run directory; `metrics.json` is made if it is missing or older than the predictions.
        files: also write the tables (Markdown, LaTeX, CSV) and plots (SVG, PNG, PDF) as files.
        embed_audio: put the hardest utterances' audio into the page; needs the corpus files and makes the page large.
        anew: compute metrics.json again even if it looks current.
        progress: called with the name of each step.

    Returns:
        Path of `report.html`.

    Raises:
        NotARun: the folder is no run directory.
    """
    run = RunDirectory.open(run_dir)
    step = progress or (lambda name: None)
    step("metrics")
    metrics = evaluate_run(run.path) if anew else current_metrics(run)
    step("plots")
    plots = assets.plots(run, metrics, files)
    step("tables")
    shown, everything = tables.report_tables(metrics)
    clips: dict[str, str] = {}
    if embed_audio:
        step("audio")
        clips = assets.audio_clips(run.utterances, [entry["id"] for entry in metrics["hardest"]])
    page = _render(
        run=run.run,
        metrics=metrics,
        headline=words.headline(metrics),
        summary=words.summary(metrics),
        warnings=words.warnings(metrics),
        names={row["slug"]: row["name"] for row in metrics["rows"]},
        tables=shown,
        **plots,
        clips=clips,
        environment=run.run.get("environment", {}),
        run_name=run.path.name,
    )
    if files:
        write_tables(everything, run.path / "tables")
    target = run.path / "report.html"
    with replacing(target) as scratch:
        scratch.write_text(page, encoding="utf-8")
    return target


def current_metrics(run: RunDirectory) -> dict[str, Any]:
    """metrics.json where it is as new as everything it was made from, else made anew."""
    known = run.path / "metrics.json"
    made_from = [run.path / name for name in ("run.json", "predictions.parquet", "development.parquet", "audit.json")]
    if known.exists() and all(not path.exists() or path.stat().st_mtime <= known.stat().st_mtime for path in made_from):
        try:
            metrics = read_record(known, Judged)
            if "groups" in metrics["unit"]:  # else of an older version
                return metrics
        except RecordBroken:
            pass
    return evaluate_run(run.path)


def _render(**content: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(score=score, count=count)
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return pages.get_template("report.html.j2").render(style=style, **content)
