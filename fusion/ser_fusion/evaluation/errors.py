"""Errors of evaluation: what failed with the value, what is known, what to do next."""

from ser_fusion.errors import FusionError


class EvaluationError(FusionError, ValueError):
    """Base of the errors of this package."""


class NotARun(EvaluationError):
    """A folder that is no run directory, or a broken one. Facts: folder, reason."""

    def __init__(self, folder: str, reason: str) -> None:
        super().__init__(folder, reason)

    def __str__(self) -> str:
        folder, reason = self.args
        return (
            f"{folder} is not a run directory: {reason}.\n"
            "A run directory is what `ser-fuse --out DIR` leaves behind: run.json, predictions.parquet, utterances.parquet.\n"
            "Name such a folder, or list those below a folder with `ser runs FOLDER`."
        )


class UnknownRow(EvaluationError):
    """A row that a run does not have. Facts: row, folder, known rows."""

    def __init__(self, row: str, folder: str, known: tuple[str, ...]) -> None:
        super().__init__(row, folder, known)

    def __str__(self) -> str:
        from difflib import get_close_matches

        row, folder, known = self.args
        near = get_close_matches(row, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"{folder} has no row {row!r}.{hint}\nIts rows are: {', '.join(known)}.\nName one of them as RUN:ROW."


class NotComparable(EvaluationError):
    """Two runs whose numbers do not belong side by side. Facts: folder a, folder b, differences."""

    def __init__(self, a: str, b: str, differences: tuple[str, ...]) -> None:
        super().__init__(a, b, differences)

    def __str__(self) -> str:
        a, b, differences = self.args
        lines = "\n".join(f"  - {difference}" for difference in differences)
        return (
            f"{a} and {b} cannot be compared:\n{lines}\n"
            "A paired test needs the same utterances, labels and folds. Repeat one of the runs with the other's settings: "
            "`ser-fuse --from-run DIR`."
        )


class RowsNotNamed(EvaluationError):
    """Two runs without a row in common and with many pairs. Facts: folder a, folder b, slugs of a, slugs of b."""

    def __init__(self, a: str, b: str, ours: tuple[str, ...], theirs: tuple[str, ...]) -> None:
        super().__init__(a, b, ours, theirs)

    def __str__(self) -> str:
        a, b, ours, theirs = self.args
        return (
            f"{a} and {b} have no row in common, and {len(ours) * len(theirs)} pairs of rows.\n"
            f"{a} has {', '.join(ours)}; {b} has {', '.join(theirs)}.\n"
            f"Name the rows: `ser compare {a}:{ours[0]} {b}:{theirs[0]}`."
        )


class NoEnsemble(EvaluationError):
    """An ensemble that would have one member, or whose members have trained on what they are tested on."""

    def __init__(self, kind: str, problem: str, remedy: str) -> None:
        super().__init__(kind, problem, remedy)
        self.kind, self.problem, self.remedy = kind, problem, remedy

    def __str__(self) -> str:
        return f"--ensemble {self.kind} is not possible: {self.problem}.\n{self.remedy}"
