"""Fixed types for a manifest's columns, so that no reader and no pandas version decides them by accident."""

import math
from typing import TYPE_CHECKING, Any

from ser_data.errors import BadManifest
from ser_data.text import normalise, normalised_hash
from ser_data.utterance import COLUMNS, NUMBERS

if TYPE_CHECKING:
    import pandas as pd

_TRUE = {"true", "1", "1.0", "yes", "scripted"}
_FALSE = {"false", "0", "0.0", "no", "improvised"}


def as_text(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Text as `object` with `None` for missing and empty; whole numbers lose the `.0` that CSV readers give them."""
    import pandas as pd

    def plain(value: Any) -> str | None:
        if type(value) is str:  # nearly all of them
            return value or None
        if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return str(value) or None

    return pd.Series([plain(value) for value in values.tolist()], index=values.index, dtype=object)


def as_truth(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """`True`, `False` or `None` as `object`, also from the words a CSV holds."""
    import pandas as pd

    def plain(value: str | None) -> bool | None:
        word = (value or "").strip().lower()
        return True if word in _TRUE else False if word in _FALSE else None

    return pd.Series([plain(value) for value in as_text(values)], index=values.index, dtype=object)


def conform(table: "pd.DataFrame", corpus: str) -> "pd.DataFrame":
    """A copy with all manifest columns first, in fixed types and order, then the table's further columns as text.

    Raises:
        BadManifest: No column `id`, or rows without an id.
    """
    import pandas as pd

    if "id" not in table.columns:
        raise BadManifest(corpus, "the table has no column 'id'", "Add one; ids must be unique.")
    done: dict[str, pd.Series[Any]] = {}
    for name in (*COLUMNS, *(column for column in table.columns if column not in COLUMNS)):
        if name not in table.columns:
            done[name] = pd.Series([None] * len(table), index=table.index, dtype=object)
        else:
            done[name] = table[name]
        if name in NUMBERS:
            done[name] = pd.to_numeric(done[name], errors="coerce").astype("float64")
        elif name == "turn":
            done[name] = pd.to_numeric(done[name], errors="coerce").astype("Int64")
        elif name == "scripted":
            done[name] = as_truth(done[name])
        else:
            done[name] = as_text(done[name])
    if done["id"].isna().any():
        raise BadManifest(corpus, f"{int(done['id'].isna().sum()):,} rows have no id", "Give every row an id.")
    done["corpus"] = done["corpus"].fillna(corpus).astype(object)
    # Always computed, never believed: a hash that does not fit its text would name the wrong cache row.
    texts = [None if text is None else normalise(text) for text in done["text"].tolist()]
    hashes = [None if text is None else normalised_hash(text) for text in texts]
    done["text_normalised"] = pd.Series(texts, index=table.index, dtype=object)
    done["text_hash"] = pd.Series(hashes, index=table.index, dtype=object)
    done["duration"] = done["duration"].fillna(done["end"] - done["start"].fillna(0.0))
    return pd.DataFrame(done).reset_index(drop=True)
