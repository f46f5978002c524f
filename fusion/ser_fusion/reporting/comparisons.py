"""What `ser compare` prints: comparisons, Welch tests, lists of runs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from ser_base.terminal import console as results_console
from ser_fusion.reporting.words import points, probability, tested

if TYPE_CHECKING:
    from rich.table import Table

    from ser_fusion.evaluation.comparison import Comparison


def print_comparisons(
    runs: Sequence[str], *, metric: str, conditional: bool, draws: int, seed: int, as_json: bool
) -> None:
    """Compares and prints: sentences of the declared families, then a table of all pairs."""
    from rich.text import Text

    from ser_fusion.evaluation.pairing import compare_all, conditional_tests, pairs_of
    from ser_fusion.evaluation.run_metrics import finite

    pairs = pairs_of(runs)
    found = compare_all(pairs, metric=metric, draws=draws, seed=seed)
    tests = [conditional_tests(a, b, seed=seed) if conditional else [] for _, a, b in pairs]
    if as_json:
        data = [
            {**item.as_dict(), "conditional": [asdict(test) for test in extra]}
            for item, extra in zip(found, tests, strict=True)
        ]
        print(json.dumps(finite(data), indent=1, ensure_ascii=False, allow_nan=False))
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
    for item, extra in zip(found, tests, strict=True):
        for test in extra:
            console.print(Text(f"{item.a} - {item.b}, {test.name}: p = {test.p:.4f} ({test.detail}); {test.label}"))


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


def print_summary(file: Path, as_json: bool) -> None:
    """Welch's tests of a printed table."""
    from rich.table import Table
    from rich.text import Text

    from ser_fusion.evaluation.summary_table import read_summary, welch_tests

    tests = welch_tests(read_summary(file))
    if as_json:
        print(json.dumps([asdict(test) for test in tests], indent=1, ensure_ascii=False))
        return
    table = Table(header_style="bold")
    for name in ("pair", "metric", "difference", "t", "df", "p"):
        table.add_column(name, justify="left" if name in ("pair", "metric") else "right")
    for test in tests:
        table.add_row(
            Text(f"{test.a} - {test.b}"),
            test.metric,
            f"{test.difference:+.3f}",
            f"{test.t:.2f}",
            f"{test.freedom:.1f}",
            f"{test.p:.3f}",
        )
    console = results_console()
    console.print(table)
    console.print(
        Text(
            "Welch, unpaired, from printed means: indicative only, since such runs share folds. A paired test needs predictions.",
            style="dim",
        )
    )


def list_runs(folder: Path) -> None:
    """The runs below a folder; those with one fold fingerprint and one class count can be compared."""
    from rich.table import Table
    from rich.text import Text

    from ser_fusion.evaluation.run_list import find_runs

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
