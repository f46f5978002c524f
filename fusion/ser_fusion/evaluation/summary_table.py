"""Printed tables: Welch's t-test from mean, standard deviation and n, all that a paper leaves to work with.

Indicative only: the runs behind such a table shared folds, so the samples were neither independent nor unpaired.
"""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from ser_data.errors import BadManifest
from ser_data.manifest.csv_file import csv_frame
from ser_fusion.evaluation.errors import EvaluationError

COLUMNS = ("name", "metric", "mean", "std", "n")


class BadSummary(EvaluationError):
    """A summary file that cannot be read. Facts: file, line or None, reason."""

    file: str
    line: int | None
    reason: str
    got = "{where}: {reason}."
    known = "A summary is a CSV file with the columns name,mean,std,n and, for several metrics, metric."
    next = "Write means and standard deviations as the paper prints them, and n as the number of values behind them."

    @property
    def where(self) -> str:
        return f"{self.file}, line {self.line}" if self.line else self.file


@dataclass(frozen=True)
class Printed:
    """One cell of a printed table: mean and standard deviation (ddof 1) of `n` values."""

    name: str
    metric: str
    mean: float
    std: float
    n: int


@dataclass(frozen=True)
class Welch:
    """Two cells of one metric compared."""

    a: str
    b: str
    metric: str
    difference: float
    t: float
    freedom: float
    p: float


def read_summary(path: str | Path) -> list[Printed]:
    """Reads `name,mean,std,n[,metric]`."""
    rows = []
    try:
        table = csv_frame(Path(path))
    except BadManifest as error:
        raise BadSummary(str(path), None, f"it {error.problem}") from None
    except OSError as error:
        raise BadSummary(str(path), None, f"it cannot be read ({error})") from None
    missing = [name for name in COLUMNS if name not in table and name != "metric"]
    if missing:
        raise BadSummary(str(path), 1, f"the columns {', '.join(missing)} are missing")
    for number, line in enumerate(table.to_dict("records"), start=2):
        try:
            row = Printed(
                line["name"].strip(),
                (line.get("metric") or "").strip(),
                float(line["mean"]),
                float(line["std"]),
                int(line["n"]),
            )
        except (TypeError, ValueError, AttributeError):
            raise BadSummary(str(path), number, "mean and std must be numbers and n a whole number") from None
        if row.n < 2 or row.std < 0:
            raise BadSummary(str(path), number, f"n = {row.n} and std = {row.std:g} allow no test")
        rows.append(row)
    if len(rows) < 2:
        raise BadSummary(str(path), None, "it has fewer than two rows")
    return rows


def welch_tests(rows: list[Printed]) -> list[Welch]:
    """Welch's unequal-variance t-test for every pair within each metric, in the file's order."""
    from scipy.stats import ttest_ind_from_stats

    tests = []
    for metric in dict.fromkeys(row.metric for row in rows):
        for a, b in combinations([row for row in rows if row.metric == metric], 2):
            result = ttest_ind_from_stats(a.mean, a.std, a.n, b.mean, b.std, b.n, equal_var=False)
            u, v = a.std**2 / a.n, b.std**2 / b.n
            freedom = (u + v) ** 2 / (u**2 / (a.n - 1) + v**2 / (b.n - 1)) if u + v else float("nan")
            tests.append(
                Welch(a.name, b.name, metric, a.mean - b.mean, float(result.statistic), freedom, float(result.pvalue))
            )
    return tests
