"""`failures.csv` beside the cache: every utterance without features, with a reason code, and every row of the corpus dropped."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ser_base.files import write_whole
from ser_data.manifest.table import Problem

NAME = "failures.csv"
COLUMNS = ("id", "modality", "reason", "detail")
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, order=True)
class Skipped:
    """One line: an utterance that was not encoded, or a row of the corpus that was dropped (modality `corpus`)."""

    id: str
    modality: str
    reason: str
    detail: str

    def __str__(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return f"Skipped {self.id or '(no id)'} ({self.modality}): {self.reason}{detail}"


def from_problems(problems: Iterable[Problem]) -> list[Skipped]:
    """The dropped rows of a manifest."""
    return [
        Skipped(
            problem.id,
            "corpus",
            problem.reason,
            f"{problem.detail} ({problem.where})" if problem.where else problem.detail,
        )
        for problem in problems
        if problem.dropped
    ]


def write_failures(folder: Path, skipped: Iterable[Skipped]) -> Path:
    """Writes the file whole, by rename; header only when nothing was skipped. Cells that a spreadsheet would run are quoted."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for line in sorted(skipped):
        writer.writerow([_harmless(cell) for cell in (line.id, line.modality, line.reason, line.detail)])
    path = folder / NAME
    write_whole(path, text.getvalue().encode("utf-8", errors="replace"))
    return path


def _harmless(cell: str) -> str:
    plain = " ".join(cell.split())
    return f"'{plain}" if plain.startswith(FORMULA) else plain
