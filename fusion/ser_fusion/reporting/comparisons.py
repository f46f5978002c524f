"""What `ser compare` prints: comparisons, lists of runs."""

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from ser_base.command_line import console as results_console
from ser_fusion.reporting.words import points, probability, tested

if TYPE_CHECKING:
    from rich.table import Table

    from ser_fusion.evaluation.comparison import Comparison


def print_comparisons(runs: Sequence[str], *, metric: str, draws: int, seed: int, as_json: bool) -> None:
    """Compares and prints: sentences of the declared families, then a table of all pairs."""
    from rich.text import Text

    from ser_fusion.evaluation.pairing import compare_all, pairs_of
    from ser_fusion.evaluation.run_metrics import finite

    found = compare_all(pairs_of(runs), metric=metric, draws=draws, seed=seed)
    if as_json:
        print(json.dumps(finite([item.as_dict() for item in found]), indent=1, ensure_ascii=False, allow_nan=False))
        return
    console = results_console()
    if not found:
        console.print("One trained row: nothing to compare.")
        return
    said = [item for item in found if item.family != "exploratory" or item.note] or found[:10]
    for item in said:
        console.print(Text("• " + item.sentence()))
    console.print(_pair_table(found, metric))
    more = "Holm: within the family; NB: Nadeau-Bengio; shows: points that this design shows with 80 % power."
    console.print(Text(f"{tested(found[0].as_dict())} {more}", style="dim"))


def _pair_table(found: "Sequence[Comparison]", metric: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("pair", min_width=20)
    for name in (f"points {metric} [95 % CI]", "p", "Holm", "NB", "shows"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for item in found:
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

    from ser_fusion.evaluation.run_directory import find_runs

    found = list(find_runs(folder))
    console = results_console()
    if not found:
        console.print(
            Text(f"No run below {folder}. A run is a folder with a run.json, as `ser-fuse --out DIR` writes it.")
        )
        return
    table = Table(header_style="bold")
    for name in ("run", "corpus", "protocol", "folds", "classes", "seeds", "trained rows"):
        table.add_column(name, overflow="fold", no_wrap=name in ("protocol", "folds"))
    for run in found:
        if run.problem and not run.corpus:
            table.add_row(Text(str(run.path)), Text(run.problem, style="yellow"))
            continue
        rows = ", ".join(run.rows) + (f" ({run.problem})" if run.problem else "")
        seeds = ", ".join(str(seed) for seed in run.seeds)
        table.add_row(
            Text(str(run.path)), Text(run.corpus), run.protocol, run.folds, str(run.classes), seeds, Text(rows)
        )
    console.print(table)


def rewrite_reports(runs: Sequence[str], *, audit: bool, embed_audio: bool) -> None:
    """Judges runs anew and writes their reports; prints the path of each."""
    from rich.console import Console

    from ser_fusion.reporting.report import write_report

    console = Console(stderr=True)
    for run in runs:
        with console.status(f"{run} ...") as status:

            def step(name: str) -> None:
                status.update(f"{run}: {name}")  # noqa: B023

            if audit:
                from ser_fusion.evaluation.audit import audit_run, write_audit

                write_audit(run, audit_run(run, progress=step))
            print(write_report(run, embed_audio=embed_audio, anew=True, progress=step))


def mirror_runs(runs: Sequence[str], mirrors: Sequence[str], target: Path) -> None:
    """Copies runs into TensorBoard or MLflow below `target/<mirror>`; prints where."""
    from ser_fusion.reporting.mirrors import MIRRORS

    for run in runs:
        for mirror in mirrors:
            folder = target / mirror
            folder.mkdir(parents=True, exist_ok=True)
            MIRRORS[mirror](Path(run), folder / Path(run).name if mirror == "tensorboard" else folder)
            print(folder)
