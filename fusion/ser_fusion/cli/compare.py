"""`ser compare`, `ser report`, `ser audit` and `ser runs`: what finished runs say. Nothing heavy is loaded before they run."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.settings import SettingsCommand

MIRRORS = ("tensorboard", "mlflow")
METRICS = ("UWA", "WA", "WF1", "UWF1")
_path = click.Path(path_type=Path)
_runs = click.argument("runs", nargs=-1, required=True, metavar="RUN...")
_embed_audio = click.option(
    "--embed-audio", is_flag=True, help="Put the audio of the hardest utterances into the page."
)


def _told(command: Callable[..., None]) -> Callable[..., None]:
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
    "--metric", type=click.Choice(METRICS), default="UWA", show_default=True, help="All but UWA are exploratory."
)
@click.option(
    "--draws",
    type=click.IntRange(100),
    default=20_000,
    show_default=True,
    help="Draws of the swap test where more than 15 speakers have trained models of their own.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draws.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparisons as JSON.")
@_told
def compare(runs: tuple[str, ...], metric: str, draws: int, seed: int, as_json: bool) -> None:
    """Compare rows of runs, with speakers as the units: is a difference more than luck?

    **One RUN**: its declared comparisons (self - cross, named head - audio, named head - text), ablations, all other pairs.
    **RUN:ROW RUN:ROW**: these rows. **RUN RUN**: the rows that both have; where there are none,
    their named heads, else all pairs while these are few. Rows of two runs are exploratory.
    Runs with other folds, labels or corpora are refused, with how they differ.

    Example: ser compare runs/demo/results:self runs/demo/results:cross
    """
    from ser_fusion.reporting.comparisons import print_comparisons

    print_comparisons(runs, metric=metric, draws=draws, seed=seed, as_json=as_json)


@click.command("report", cls=SettingsCommand, section="report")
@_runs
@_embed_audio
@click.option(
    "--mirror",
    type=click.Choice(MIRRORS),
    multiple=True,
    help="Copy the numbers there too; its package must be installed.",
)
@click.option("--mirror-to", type=_path, default=Path("mirrors"), show_default=True, help="Folder of the mirrors.")
@_told
def report(runs: tuple[str, ...], embed_audio: bool, mirror: tuple[str, ...], mirror_to: Path) -> None:
    """Judge each RUN again and write its report: metrics.json, report.html, tables, plots.

    Example: ser report runs/demo/results --embed-audio
    """
    from ser_fusion.reporting.comparisons import mirror_runs, rewrite_reports

    rewrite_reports(runs, audit=False, embed_audio=embed_audio)
    mirror_runs(runs, mirror, mirror_to)


@click.command("audit", cls=SettingsCommand, section="audit")
@_runs
@_embed_audio
@_told
def audit(runs: tuple[str, ...], embed_audio: bool) -> None:
    """Audit each RUN for leaks under four protocols, then write its report. The probes need the run's cache.

    Example: ser audit runs/demo/results
    """
    from ser_fusion.reporting.comparisons import rewrite_reports

    rewrite_reports(runs, audit=True, embed_audio=embed_audio)


@click.command("runs", cls=SettingsCommand, section="runs")
@click.argument("folder", type=_path, default=Path("runs"))
@_told
def runs(folder: Path) -> None:
    """List the runs below FOLDER, by default below `runs`; those with equal folds and classes can be compared.

    Example: ser runs runs
    """
    from ser_fusion.reporting.comparisons import list_runs

    list_runs(folder)
