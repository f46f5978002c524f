"""``ser compare``, ``ser report``, ``ser audit`` and ``ser runs``, which read finished runs. Imports are lazy."""

import json
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ser_base import option_values as types
from ser_base.settings import SettingsCommand

if TYPE_CHECKING:
    from rich.table import Table

    from ser_fusion.evaluation.comparison import Comparison

MIRRORS = ("tensorboard", "mlflow")
METRICS = ("UWA", "WA", "WF1", "UWF1")
_path = click.Path(path_type=Path)
_runs = click.argument("runs", nargs=-1, required=True, metavar="RUN...")
_embed_audio = click.option(
    "--embed-audio",
    is_flag=True,
    help="Put the audio of the hardest utterances into the page. Mind the licence of the corpus.",
)


def _reported(command: Callable[..., None]) -> Callable[..., None]:
    """Our own errors become one message and exit code 1; an interruption becomes exit code 130."""

    @wraps(command)
    def run(**options: Any) -> None:
        from ser_base.errors import SerError

        try:
            command(**options)
        except SerError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)

    return run


@click.command("compare", cls=SettingsCommand, section="compare", no_args_is_help=True)
@click.argument("runs", nargs=-1, required=True, metavar="RUN[:ROW]...")
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default="UWA",
    show_default=True,
    help="Compare by this score. Only UWA is declared; the others are exploratory.",
)
@click.option(
    "--draws",
    type=click.IntRange(100),
    default=20_000,
    show_default=True,
    help="Number of draws of the swap test, for more than 15 speakers with trained models of their own.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draws.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparisons as JSON.")
@_reported
def compare(runs: tuple[str, ...], metric: str, draws: int, seed: int, as_json: bool) -> None:
    """Test whether a difference between rows of runs is more than luck, with speakers as the units.

    **One RUN**: its declared comparisons (self - cross, named head - audio, named head - text), ablations, all other pairs.
    **RUN:ROW RUN:ROW**: these rows. **RUN RUN**: the rows that both have; without any, their named heads; else all pairs if
    they are few. Comparisons between two runs are exploratory. Runs with different folds, labels or corpora are refused, and
    the differences are listed.

    Example: ser compare runs/demo/results:self runs/demo/results:cross
    """
    print_comparisons(runs, metric=metric, draws=draws, seed=seed, as_json=as_json)


@click.command("report", cls=SettingsCommand, section="report")
@_runs
@_embed_audio
@click.option(
    "--map",
    callback=types.words(["pca", "tsne", "umap"]),
    metavar="NAMES",
    help="Add maps of the features by these: pca, tsne, umap. They need the run's cache.",
)
@click.option(
    "--mirror",
    type=click.Choice(MIRRORS),
    multiple=True,
    help="Copy the scores to this tracker too. Its package must be installed.",
)
@click.option(
    "--mirror-to", type=_path, default=Path("mirrors"), show_default=True, help="Write these copies below this folder."
)
@_reported
def report(
    runs: tuple[str, ...], embed_audio: bool, map: tuple[str, ...] | None, mirror: tuple[str, ...], mirror_to: Path
) -> None:
    """Judge each RUN again and write its report: metrics.json, report.html, tables and plots.

    Rows that are far from published results are named, with the usual causes.

    Example: ser report runs/demo/results --embed-audio
    """
    rewrite_reports(runs, audit=False, embed_audio=embed_audio, methods=map or ())
    mirror_runs(runs, mirror, mirror_to)


@click.command("audit", cls=SettingsCommand, section="audit")
@_runs
@_embed_audio
@_reported
def audit(runs: tuple[str, ...], embed_audio: bool) -> None:
    """Audit each RUN for leaks under four protocols, then write its report.

    The linear probes need the run's feature cache; without it only words and priors are audited.

    Example: ser audit runs/demo/results
    """
    rewrite_reports(runs, audit=True, embed_audio=embed_audio)


@click.command("runs", cls=SettingsCommand, section="runs")
@click.argument("folder", type=_path, default=Path("runs"))
@_reported
def runs(folder: Path) -> None:
    """List the runs below FOLDER (default: `runs`). Runs with equal folds and classes can be compared.

    Example: ser runs runs
    """
    list_runs(folder)


def print_comparisons(runs: Sequence[str], *, metric: str, draws: int, seed: int, as_json: bool) -> None:
    """Compares and prints: sentences of the declared families, then a table of all pairs."""
    from rich.text import Text

    from ser_base.command_line import console
    from ser_fusion.evaluation.pairing import compare_all, pairs_of
    from ser_fusion.evaluation.run_metrics import finite
    from ser_fusion.reporting.words import tested

    comparisons = compare_all(pairs_of(runs), metric=metric, draws=draws, seed=seed)
    if as_json:
        print(
            json.dumps(finite([item.as_dict() for item in comparisons]), indent=1, ensure_ascii=False, allow_nan=False)
        )
        return
    screen = console()
    if not comparisons:
        screen.print("Only one trained row: nothing to compare.")
        return
    said = [item for item in comparisons if item.family != "exploratory" or item.note] or comparisons[:10]
    for item in said:
        screen.print(Text("• " + item.sentence()))
    screen.print(_pair_table(comparisons, metric))
    more = "Holm: within the family; NB: Nadeau-Bengio; shows: points that this design shows with 80 % power."
    screen.print(Text(f"{tested(comparisons[0].as_dict())} {more}", style="dim"))


def _pair_table(comparisons: "Sequence[Comparison]", metric: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from ser_fusion.reporting.words import points, probability

    table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("pair", min_width=20)
    for name in (f"points {metric} [95 % CI]", "p", "Holm", "NB", "shows"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for item in comparisons:
        if item.family != last:
            table.add_section()
            table.add_row(Text(item.family, style="italic"))
        last = item.family
        interval = f"[{points(item.low)}, {points(item.high)}]" if isfinite(item.low) else ""
        table.add_row(
            Text(f"{item.a} - {item.b}"),
            f"{points(item.difference)} {interval:>15}",
            probability(item.p),
            probability(item.p_holm),
            probability(item.corrected.p if item.corrected else None),
            f"{100 * item.detectable:.1f}" if isfinite(item.detectable) else "–",
        )
    return table


def list_runs(folder: Path) -> None:
    """The runs below a folder; those with one fold fingerprint and one class count can be compared."""
    from rich.table import Table
    from rich.text import Text

    from ser_base.command_line import console
    from ser_fusion.evaluation.run_directory import find_runs

    runs = list(find_runs(folder))
    screen = console()
    if not runs:
        screen.print(
            Text(f"No run below {folder}. A run is a folder with a run.json, as `ser-fuse --out DIR` writes it.")
        )
        return
    table = Table(header_style="bold")
    for name in ("run", "corpus", "protocol", "folds", "classes", "seeds", "trained rows"):
        table.add_column(name, overflow="fold", no_wrap=name in ("protocol", "folds"))
    for run in runs:
        if run.problem and not run.corpus:
            table.add_row(Text(str(run.path)), Text(run.problem, style="yellow"))
            continue
        rows = ", ".join(run.rows) + (f" ({run.problem})" if run.problem else "")
        seeds = ", ".join(str(seed) for seed in run.seeds)
        table.add_row(
            Text(str(run.path)), Text(run.corpus), run.protocol, run.folds, str(run.classes), seeds, Text(rows)
        )
    screen.print(table)


def rewrite_reports(runs: Sequence[str], *, audit: bool, embed_audio: bool, methods: Sequence[str] = ()) -> None:
    """Judges runs again and writes their reports; prints the path of each."""
    from rich.console import Console

    from ser_base.machine import usable_cores
    from ser_fusion.evaluation.feature_map import require
    from ser_fusion.evaluation.published import far_off, place_rows
    from ser_fusion.evaluation.run_directory import RunDirectory
    from ser_fusion.reporting.report import current_metrics, write_report

    require(methods)
    console = Console(stderr=True)
    for run in runs:
        with console.status(f"{run} ...") as status:

            def step(name: str) -> None:
                status.update(f"{run}: {name}")  # noqa: B023

            if audit:
                from ser_base.files import write_json
                from ser_fusion.evaluation.audit import audit_run

                write_json(Path(run) / "audit.json", audit_run(run, progress=step))
            if methods:
                from ser_fusion.reporting.feature_map import map_run

                map_run(run, methods, progress=step)
            print(write_report(run, embed_audio=embed_audio, anew=True, workers=usable_cores(), progress=step))
        judged = RunDirectory.open(run)
        for line in far_off(place_rows(current_metrics(judged), judged.run)):
            click.echo(line, err=True)


def mirror_runs(runs: Sequence[str], mirrors: Sequence[str], target: Path) -> None:
    """Copies runs into TensorBoard or MLflow below ``target/<mirror>``; prints where."""
    from ser_fusion.reporting.mirrors import MIRRORS

    for run in runs:
        for mirror in mirrors:
            folder = target / mirror
            folder.mkdir(parents=True, exist_ok=True)
            MIRRORS[mirror](Path(run), folder / Path(run).name if mirror == "tensorboard" else folder)
            print(folder)
