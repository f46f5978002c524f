"""The result table for a terminal (rich)."""

from typing import TYPE_CHECKING, Any

from ser_fusion.reporting.numbers import bounds, count, score, spread

if TYPE_CHECKING:
    from rich.console import Group

METRICS = ("WA", "UWA", "WF1", "UWF1")


def result_table(metrics: dict[str, Any]) -> "Group":
    """The table of all rows, heads first, reference rows below a rule; transductive rows in a table of their own.

    Args:
        metrics: what `evaluate_run` returned.

    Returns:
        Anything a `rich.console.Console` prints.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    corpus, unit = metrics["corpus"], metrics["unit"]
    synthetic = " — SYNTHETIC corpus" if corpus.get("synthetic") else ""
    title = f"{corpus.get('title') or corpus.get('name')}{synthetic} · protocol {metrics['protocol']}"
    groups = [
        (title, [row for row in metrics["rows"] if not row.get("transductive")]),
        ("Transductive: normalised with the test speaker's own speech", [r for r in metrics["rows"] if r.get("transductive")]),
    ]
    parts: list[Any] = []
    for heading, rows in groups:
        if not rows:
            continue
        table = Table(title=Text(heading), title_justify="left", header_style="bold")
        table.add_column("model")
        for metric in METRICS:
            table.add_column(metric, justify="right", no_wrap=True)
        table.add_column(f"95 % CI UWA, {unit['kind']}s", justify="right", no_wrap=True)
        table.add_column("seed sd", justify="right")
        table.add_column("n", justify="right")
        ordered = sorted(rows, key=lambda row: row["kind"] == "reference")
        for i, row in enumerate(ordered):
            scores = row["metrics"]
            cells = [
                Text(spread(scores[m]), style="bold green" if metrics["best"].get(m) == row["slug"] else "") for m in METRICS
            ]
            last = i + 1 < len(ordered) and ordered[i + 1]["kind"] == "reference" and row["kind"] != "reference"
            uwa = scores["UWA"]
            table.add_row(
                Text(row["name"]),
                *cells,
                bounds(uwa["low"], uwa["high"]),
                score(uwa["std_seeds"]),
                count(row["n"]),
                style="dim" if row["kind"] == "reference" else "",
                end_section=last,
            )
        parts.append(table)
    kind = "pooled over folds" if metrics["pooled_only"] else "mean ± std over folds, seeds averaged first; the interval is of the pooled score"
    parts.append(Text(f"{kind}. Bold: better than every other trained row (speaker swap test, Holm).", style="dim"))
    for comparison in metrics["comparisons"]:
        if comparison["family"] == "primary":
            parts.append(Text("• " + comparison["sentence"]))
    for warning in metrics["tuned_encoders"]:
        parts.append(Text("! " + warning, style="yellow"))
    return Group(*parts)
