"""Result tables for a terminal (rich), and as Markdown, LaTeX (booktabs) and CSV.

A CSV cell that a spreadsheet would take for a formula (it starts with = + - @, a tab or a carriage return and is not a
number) gets a leading apostrophe; Markdown and LaTeX escape what their readers would interpret.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_base.files import safe_name
from ser_fusion.evaluation.rating_metrics import DEFINITIONS
from ser_fusion.evaluation.rating_metrics import METRICS as RATING_METRICS
from ser_fusion.reporting.tables import Table as TableData
from ser_fusion.reporting.tables import lost_table, transfer_tables
from ser_fusion.reporting.words import bold, bounds, count, replicates, score, spread, told_probes

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions


METRICS = ("WA", "UWA", "WF1", "UWF1")
# columns from which the table shows the pooled UWA and its interval, and the seeds' deviation and n
WIDE, WIDER = 96, 110


class ResultTable:
    """All rows of a run: heads first, reference rows below a rule, transductive rows in a table of their own."""

    def __init__(self, metrics: dict[str, Any]) -> None:
        self.metrics = metrics

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> Iterator[Any]:
        """Yields tables and sentences, by the console's width."""
        from rich.text import Text

        metrics, width = self.metrics, options.max_width
        corpus = metrics["corpus"]
        if corpus.get("synthetic"):
            yield Text("SYNTHETIC corpus: these numbers say nothing about human emotion.", style="bold yellow")
        title = f"{corpus.get('title') or corpus.get('name')}, protocol {metrics['protocol']}"
        rows = [row for row in metrics["rows"] if row["kind"] != "lost"]
        shifted = [row for row in rows if row.get("transductive")]
        plain = [row for row in rows if not row.get("transductive")]
        yield self._table(title, plain, width)
        if shifted:
            yield self._table("Transductive: normalised with test speech itself", shifted, width)
        how = "pooled over folds" if metrics["pooled_only"] else "mean ± std over folds, seeds averaged first"
        interval = f"; CI: 95 % of the pooled UWA, t over {replicates(metrics['unit'])}" if width >= WIDE else ""
        yield Text(f"{how}{interval}. {bold(metrics['unit'])}", style="dim")
        lost = lost_table(metrics)
        for table in [*transfer_tables(metrics), *([lost] if lost else [])]:
            yield _plain(table)
        for line in told_probes(metrics["rows"]):
            yield Text("• " + line)
        for comparison in metrics["comparisons"]:
            if comparison["family"] == "primary" or comparison.get("note"):
                yield Text("• " + comparison["sentence"])
        for warning in metrics["tuned_encoders"]:
            yield Text("! " + warning, style="yellow")

    def _table(self, title: str, rows: list[dict[str, Any]], width: int) -> Any:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(title), title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("model", min_width=12)
        for metric in METRICS:
            table.add_column(metric, justify="right", no_wrap=True)
        pooled = width >= WIDE and not self.metrics["pooled_only"]
        if pooled:
            table.add_column("pooled", justify="right", no_wrap=True)
        if width >= WIDE:
            table.add_column("CI of UWA", justify="right", no_wrap=True)
        if width >= WIDER:
            table.add_column("seed sd", justify="right", no_wrap=True)
            table.add_column("n", justify="right", no_wrap=True)
        ordered = sorted(rows, key=lambda row: row["kind"] == "reference")
        best = self.metrics["best"]
        for i, row in enumerate(ordered):
            scores, reference = row["metrics"], row["kind"] == "reference"
            cells = [
                Text(spread(scores[metric]), style="bold green" if best.get(metric) == row["slug"] else "")
                for metric in METRICS
            ]
            extra = [score(scores["UWA"]["std_seeds"]), count(row["n"])] if width >= WIDER else []
            interval = [bounds(scores["UWA"]["low"], scores["UWA"]["high"])] if width >= WIDE else []
            interval = ([score(scores["UWA"]["pooled"])] if pooled else []) + interval
            last = i + 1 < len(ordered) and ordered[i + 1]["kind"] == "reference" and not reference
            table.add_row(
                Text(row["name"]), *cells, *interval, *extra, style="dim" if reference else "", end_section=last
            )
        return table


def _plain(table: TableData) -> Any:
    """One of the report's tables for a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(table.title), title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(table.columns):
        shown.add_column(Text(column), justify="left" if number == 0 or number in table.left else "right")
    for number, row in enumerate(table.rows):
        last = number + 1 < len(table.rows) and table.rows[number + 1].rule
        shown.add_row(*(Text(cell.text) for cell in row.cells), style="dim" if row.quiet else "", end_section=last)
    return shown


# A table of ratings in a terminal and as Markdown.
class RatingTable:
    """What a ``rich.console.Console`` prints as the result of ratings.

    Args:
        result: ``judge_ratings``'s result.
    """

    def __init__(self, result: Mapping[str, Any]) -> None:
        self.result = result

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        for metric in RATING_METRICS:
            table = Table(title=_title(metric), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
            for number, name in enumerate(("model", *self.result["dimensions"], "mean")):
                table.add_column(name, justify="right" if number else "left", no_wrap=bool(number))
            for row in self.result["rows"]:
                table.add_row(*_cells(row, metric, self.result), style="dim" if row["kind"] == "reference" else "")
            yield table


def markdown(result: Mapping[str, Any]) -> str:
    """The same as a Markdown page."""
    lines = [f"# {', '.join(result['dimensions']).capitalize()}", ""]
    lines += [
        f"{result['corpus']}, protocol {result['protocol']}, {result['folds']} folds, seeds {result['seeds']}.",
        "",
    ]
    for metric in RATING_METRICS:
        names = ("model", *result["dimensions"], "mean")
        lines += [f"## {_title(metric)}", "", f"| {' | '.join(names)} |", "|---" + "|---:" * (len(names) - 1) + "|"]
        lines += [f"| {' | '.join(_cells(row, metric, result))} |" for row in result["rows"]] + [""]
    lines += ["Mean ± standard deviation over folds; seeds are averaged first.", ""]
    lines += [f"- {name}: {meaning}." for name, meaning in DEFINITIONS.items()]
    lines += [f"- {row['name']}: {row['note']}." for row in result["rows"] if row.get("note")]
    return "\n".join(lines) + "\n"


def _title(metric: str) -> str:
    return f"{metric}, {'smaller' if metric == 'MAE' else 'larger'} is better"


def _cells(row: Mapping[str, Any], metric: str, result: Mapping[str, Any]) -> list[str]:
    cells = [str(row["name"])]
    for name in (*result["dimensions"], "mean"):
        value = row["scores"][name][metric]
        if value["mean"] is None:
            cells.append("-")
        else:
            spread = "" if value["std_folds"] is None else f" ± {value['std_folds']:.3f}"
            cells.append(f"{value['mean']:.3f}{spread}")
    return cells


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "<": r"$<$",
    ">": r"$>$",
}
_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")


def safe_cell(text: str) -> str:
    """A CSV cell that no spreadsheet runs; plain numbers stay numbers."""
    if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _NUMBER.match(text):
        return "'" + text
    return text


def csv_text(table: TableData) -> str:
    """The table as CSV with a header line, without notes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([safe_cell(column) for column in table.columns])
    writer.writerows([safe_cell(cell.text) for cell in row.cells] for row in table.rows)
    return out.getvalue()


def _markdown(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", text).replace("\n", " ")


def markdown_text(table: TableData) -> str:
    """The table as GitHub Markdown: heading, table, notes."""
    align = ["---" if i == 0 or i in table.left else "---:" for i in range(len(table.columns))]
    lines = [f"### {_markdown(table.title)}", ""]
    lines.append("| " + " | ".join(_markdown(column) for column in table.columns) + " |")
    lines.append("| " + " | ".join(align) + " |")
    for row in table.rows:
        cells = [f"**{_markdown(cell.text)}**" if cell.best else _markdown(cell.text) for cell in row.cells]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"{_markdown(note)}  " for note in table.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def latex_text(table: TableData) -> str:
    """The table as a LaTeX ``table`` with booktabs rules; needs ``\\usepackage{booktabs}``."""
    spec = "".join("l" if i == 0 or i in table.left else "r" for i in range(len(table.columns)))
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(table.title)}. {_latex(' '.join(table.notes))}}}"]
    lines += [rf"\label{{tab:{table.slug}}}", rf"\begin{{tabular}}{{{spec}}}", r"\toprule"]
    lines.append(" & ".join(_latex(column) for column in table.columns) + r" \\")
    lines.append(r"\midrule")
    for row in table.rows:
        if row.rule:
            lines.append(r"\midrule")
        cells = [rf"\textbf{{{_latex(cell.text)}}}" if cell.best else _latex(cell.text) for cell in row.cells]
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def write_tables(tables: list[TableData], folder: Path) -> list[Path]:
    """Writes every table as ``.md``, ``.tex`` and ``.csv`` and returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        for suffix, text in ((".md", markdown_text(table)), (".tex", latex_text(table)), (".csv", csv_text(table))):
            path = folder / f"{safe_name(table.slug)}{suffix}"
            path.write_text(text, encoding="utf-8", newline="")
            written.append(path)
    return written
