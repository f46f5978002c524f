"""One finding of a validation, and what a reader's problems mean to it."""

from dataclasses import dataclass

from ser_data.manifest.table import TABLE_NOTES, Problem


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found.

    Attributes:
        severity: `error` (the copy is not as it should be; exit code 1) or `note` (known, or for information).
        check: Which check found it, the same text for all findings of a kind.
        where: File and line, as far as there is one.
        what: The fact, with the values found and expected.
        fix: What to do.
        id: The utterance, if it is about one.
    """

    severity: str
    check: str
    where: str
    what: str
    fix: str = ""
    id: str = ""


# Reasons that a reader may give without anything being wrong with the copy
_NOTES = frozenset(
    {
        *TABLE_NOTES,
        "names alike",
        "empty text",
        "extra transcript",
        "noise line",
        "rating out of range",
        "missing label",
        "no majority",
        "not speech",
        "twin",
        "odd line",
        "unknown vote",
    }
)
_FIXES = {
    "missing file": "copy the file again from the archive",
    "missing path": "fill the column path",
    "missing text": "restore the transcript line, or leave the text stream out",
    "missing label": "fill the label, or leave the row out",
    "empty text": "nothing: the text stream gets a placeholder; the row is counted",
    "extra transcript": "nothing: the line has no turn in the corpus",
    "noise line": "nothing: the line belongs to no turn",
    "rating out of range": "nothing, or clip the rating to 1..5 if you use it",
    "transcript without turn": "restore the evaluation block of this turn",
    "bad line": "restore the line from the archive",
    "odd line": "nothing, or restore the annotator's line",
    "bad row": "correct the row",
    "bad id": "restore the name from the archive",
    "bad span": "correct start and end",
    "blanks in names": "nothing: they are read without; or correct the cells",
    "line breaks in cells": "nothing, if they are meant; a forgotten quote swallows rows",
    "empty columns": "nothing, or save the table without them",
    "shared stem": "nothing: these ids keep the ending of the file",
    "names alike": "write them in one way if they mean one",
    "bad number": "correct the number",
    "not UTF-8": "save the file as UTF-8, or restore it from the archive",
    "unknown label": "correct the label",
    "unknown vote": "correct the annotator's label",
    "wrong file": "move the block into its own dialogue's file",
    "duplicate id": "leave one of the two",
    "duplicate transcript": "leave one of the two",
    "git-lfs pointer": "run git lfs pull",
    "path escapes": "name a file inside the archive",
    "twin": "nothing: one of the two files is enough",
    "not speech": "nothing: song and video files are passed over",
    "no majority": "nothing, or take the acted label",
}


def from_problem(problem: Problem) -> Finding:
    """The finding that a reader's problem amounts to."""
    harmless = problem.reason in _NOTES or (problem.reason == "bad span" and not problem.dropped)
    lost = "; the row is left out" if problem.dropped else ""
    return Finding(
        "note" if harmless else "error",
        problem.reason,
        problem.where,
        f"{problem.detail}{lost}",
        _FIXES.get(problem.reason, ""),
        problem.id,
    )
