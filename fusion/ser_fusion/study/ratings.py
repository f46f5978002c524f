"""The ratings of a manifest: which dimensions a corpus has, and their values. No torch here."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.errors import FusionError

if TYPE_CHECKING:
    import pandas as pd

DIMENSIONS = ("valence", "arousal", "dominance")
CLASS = "rated"  # the one class of a study of ratings


class RatingsMissing(FusionError, ValueError):
    """The corpus has no valence, arousal or dominance."""

    option: str
    source: str
    rows: int
    got = "{option} is not possible: none of the {rows:,} utterances of {source} has valence, arousal or dominance."
    next = "Give a manifest with these columns (--manifest), or leave the option out."


def dimensions_of(table: "pd.DataFrame") -> tuple[str, ...]:
    """The dimensions that a manifest's table has values of, in the order of ``DIMENSIONS``."""
    return tuple(name for name in DIMENSIONS if name in table and np.isfinite(_values(table, name)).any())


def ratings_of(table: "pd.DataFrame", dimensions: tuple[str, ...]) -> NDArray[np.float32]:
    """Ratings (utterances, dimensions) on the corpus's scale; NaN where there is none."""
    columns = [_values(table, name) for name in dimensions]
    return np.stack(columns, axis=1) if columns else np.zeros((len(table), 0), dtype=np.float32)


def rated(table: "pd.DataFrame") -> "pd.Series[Any]":
    """``CLASS`` for utterances with a rating in every dimension of the corpus, else None; the table's index.

    Raises:
        RatingsMissing: No utterance has any.
    """
    import pandas as pd

    known = dimensions_of(table)
    if not known:
        corpus = str(table["corpus"].iloc[0]) if len(table) else "the manifest"
        raise RatingsMissing("--task vad", corpus, len(table))
    named: list[Any] = [CLASS if np.isfinite(row).all() else None for row in ratings_of(table, known)]
    return pd.Series(named, index=table.index, dtype=object)


def _values(table: "pd.DataFrame", name: str) -> NDArray[np.float32]:
    return np.asarray(table[name], dtype=np.float32)
