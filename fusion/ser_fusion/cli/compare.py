"""`ser-compare`: what is a difference between two models worth?"""

import sys
from pathlib import Path

import rich_click as click

from ser_base.settings import SettingsCommand

MIRRORS = ("tensorboard", "mlflow")
METRICS = ("UWA", "WA", "WF1", "UWF1")


@click.command("ser-compare", cls=SettingsCommand, section="compare", no_args_is_help=True)
@click.argument("runs", nargs=-1, metavar="RUN[:ROW]...")
@click.option(
    "--list", "listing", type=click.Path(path_type=Path), metavar="FOLDER", help="List the runs below a folder."
)
@click.option(
    "--summary",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Welch tests from a printed table: CSV name,mean,std,n[,metric].",
)
@click.option(
    "--report", is_flag=True, help="Write the report of each RUN anew: metrics.json, report.html, tables, plots."
)
@click.option(
    "--audit", is_flag=True, help="Audit each RUN for leaks under four protocols, then report (probes need its cache)."
)
@click.option("--embed-audio", is_flag=True, help="With --report: put the hardest utterances' audio into the page.")
@click.option(
    "--mirror",
    type=click.Choice(MIRRORS),
    multiple=True,
    help="Copy each RUN there too (the package must be installed).",
)
@click.option(
    "--mirror-to",
    type=click.Path(path_type=Path),
    default=Path("mirrors"),
    show_default=True,
    help="Folder of the mirrors.",
)
@click.option(
    "--metric", type=click.Choice(METRICS), default="UWA", show_default=True, help="All but UWA are exploratory."
)
@click.option(
    "--conditional", is_flag=True, help="Also McNemar and the utterance permutation: valid for these speakers only."
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
def main(
    runs: tuple[str, ...],
    listing: Path | None,
    summary: Path | None,
    report: bool,
    audit: bool,
    embed_audio: bool,
    mirror: tuple[str, ...],
    mirror_to: Path,
    metric: str,
    conditional: bool,
    draws: int,
    seed: int,
    as_json: bool,
) -> None:
    """Compare rows of runs, with speakers as the units: is a difference more than luck?

    **One RUN**: its declared comparisons (self - cross, named head - audio, named head - text), ablations, all other pairs.
    **RUN:ROW RUN:ROW**: these rows. **RUN RUN**: the rows that both have; where there are none,
    their named heads, else all pairs while these are few. Rows of two runs are exploratory.
    Runs with other folds, labels or corpora are refused, with how they differ.
    """
    from ser_fusion.errors import FusionError

    if sum((listing is not None, summary is not None, bool(runs))) != 1:
        raise click.UsageError("Give runs, or --list FOLDER, or --summary FILE: exactly one of them.")
    if (report or audit or mirror) and not runs:
        raise click.UsageError("--report, --audit and --mirror need a RUN.")
    try:
        from ser_fusion.reporting.comparisons import (
            list_runs,
            mirror_runs,
            print_comparisons,
            print_summary,
            rewrite_reports,
        )

        if listing is not None:
            list_runs(listing)
        elif summary is not None:
            print_summary(summary, as_json)
        elif report or audit or mirror:
            if report or audit:
                rewrite_reports(runs, audit=audit, embed_audio=embed_audio)
            mirror_runs(runs, mirror, mirror_to)
        else:
            print_comparisons(runs, metric=metric, conditional=conditional, draws=draws, seed=seed, as_json=as_json)
    except FusionError as error:
        click.echo(f"ser-compare: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
