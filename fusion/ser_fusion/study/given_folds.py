"""Folds that somebody else made (``--folds FILE``): without what cannot be used, checked, and with what they hold out in fact."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from ser_data.protocols import Folds


def given_folds(path: str | Path, once: bool, table: "pd.DataFrame", usable: "pd.DataFrame") -> "Folds":
    """The folds of a CSV (id, fold, part) on the utterances that can be used.

    Args:
        path: The file.
        once: Whether no utterance may be tested in two folds.
        table: All rows of the manifest.
        usable: Those that have a label and every stream.

    Raises:
        BadFolds: The file cannot be read, names an id that the manifest does not have, or has an id in two parts of a fold.
    """
    from ser_data.protocols import Folds
    from ser_data.protocols.make import measured

    given = Folds.from_csv(path, once=once, known=set(table["id"]))
    kept = set(usable["id"])

    def part(ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in ids if name in kept)

    cut = tuple(replace(f, train=part(f.train), dev=part(f.dev), test=part(f.test)) for f in given.folds)
    folds = replace(given, folds=cut)
    folds.check(usable)
    held_out, note = measured(usable, folds.folds)
    return replace(folds, held_out=held_out, notes=(*folds.notes, f"folds as given; {note}"))
