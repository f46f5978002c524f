"""Errors of evaluation, one class per kind."""

from ser_base.errors import suggestion
from ser_fusion.errors import FusionError


class EvaluationError(FusionError, ValueError):
    """Base of the errors of this package."""


class NotARun(EvaluationError):
    """A folder that is not a run directory, or a broken one."""

    folder: str
    reason: str
    got = "{folder} is not a run directory: {reason}."
    known = (
        "A run directory is what `ser-fuse --out DIR` leaves behind: run.json, predictions.parquet, utterances.parquet."
    )
    next = "Name such a folder, or list those below a folder with `ser runs FOLDER`."


class UnknownRow(EvaluationError):
    """A row that a run does not have."""

    row: str
    folder: str
    rows: tuple[str, ...]
    got = "{folder} has no row {row!r}."
    known = "{near}Its rows are: {rows}."
    next = "Name one of them as RUN:ROW."

    @property
    def near(self) -> str:
        return suggestion(self.row, self.rows)


class NotComparable(EvaluationError):
    """Two runs whose numbers do not belong side by side."""

    a: str
    b: str
    differences: tuple[str, ...]
    got = "{a} and {b} cannot be compared:"
    known = "{listed}"
    next = (
        "A paired test needs the same utterances, labels and folds. Repeat one of the runs with the other's settings: "
        "`ser-fuse --from-run DIR`."
    )

    @property
    def listed(self) -> str:
        return "\n".join(f"  - {difference}" for difference in self.differences)


class RowsNotNamed(EvaluationError):
    """Two runs without a row in common and with many pairs of rows."""

    a: str
    b: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    got = "{a} and {b} have no row in common, and {pairs} pairs of rows."
    known = "{a} has {ours}; {b} has {theirs}."
    next = "Name the rows: `ser compare {a}:{ours[0]} {b}:{theirs[0]}`."

    @property
    def pairs(self) -> int:
        return len(self.ours) * len(self.theirs)


class NoEnsemble(EvaluationError):
    """An ensemble that would have one member, or whose members have trained on what they are tested on."""

    kind: str
    problem: str
    remedy: str
    got = "--ensemble {kind} is not possible: {problem}."
    next = "{remedy}"
