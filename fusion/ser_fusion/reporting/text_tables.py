"""Tables as Markdown, LaTeX (booktabs) and CSV files.

A CSV cell that a spreadsheet would take for a formula (it starts with = + - @, a tab or a carriage return and is not a
number) gets a leading apostrophe; Markdown and LaTeX escape what their readers would interpret.
"""

import csv
import io
import re
from pathlib import Path

from ser_fusion.reporting.assets import safe_name
from ser_fusion.reporting.tables import Table

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


def csv_text(table: Table) -> str:
    """The table as CSV with a header line, without notes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([safe_cell(column) for column in table.columns])
    writer.writerows([safe_cell(cell.text) for cell in row.cells] for row in table.rows)
    return out.getvalue()


def _markdown(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", text).replace("\n", " ")


def markdown_text(table: Table) -> str:
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


def latex_text(table: Table) -> str:
    """The table as a LaTeX `table` with booktabs rules; needs `\\usepackage{booktabs}`."""
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


def write_tables(tables: list[Table], folder: Path) -> list[Path]:
    """Writes every table as `.md`, `.tex` and `.csv` and returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        for suffix, text in ((".md", markdown_text(table)), (".tex", latex_text(table)), (".csv", csv_text(table))):
            path = folder / f"{safe_name(table.slug)}{suffix}"
            path.write_text(text, encoding="utf-8", newline="")
            written.append(path)
    return written
