"""Which protocol fits a table: what a command can recommend without knowing the corpus."""

from typing import TYPE_CHECKING

from ser_base.errors import SerError
from ser_data.protocols.make import make_folds

if TYPE_CHECKING:
    import pandas as pd

PREFERRED = ("session", "official", "manifest", "speaker", "speaker-5", "random")
"""In this order: published folds before folds of our own, disjoint speakers before random folds."""
MOST_FOLDS = 10
"""With more speakers than this, `speaker-5` comes before `speaker`: the first answer should take minutes."""


def fitting_protocol(table: "pd.DataFrame") -> str | None:
    """The first protocol that works on a table.

    Args:
        table: Utterances that can be used, with a column `class` that holds each one's class, and the manifest's columns.

    Returns:
        A name of `PROTOCOLS`: its folds can be made, and every training part holds every class. None if none fits.
    """
    if table.empty:
        return None
    names = list(PREFERRED)
    if table["speaker"].nunique() > MOST_FOLDS:
        names.remove("speaker")
    classes = table.set_index("id")["class"]
    for name in names:
        try:
            folds = make_folds(table, name)
        except SerError:
            continue
        if all(classes.loc[list(fold.train)].nunique() == classes.nunique() for fold in folds.folds):
            return name
    return None
