"""Fixed types for a manifest's columns, so that no reader and no pandas version decides them by accident."""

import json
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ser_data.errors import BadManifest
from ser_data.manifest.names import NAMES, clean_name, plain_text
from ser_data.manifest.text import normalise, normalised_hash
from ser_data.manifest.utterance import COLUMNS, NUMBERS

if TYPE_CHECKING:
    import pandas as pd

_TRUE = {"true", "1", "1.0", "yes", "scripted"}
_FALSE = {"false", "0", "0.0", "no", "improvised"}


def as_text(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Text as `object` with `None` for missing and empty; whole numbers lose the `.0` that CSV readers give them."""
    import pandas as pd

    def plain(value: Any) -> str | None:
        return None if value is pd.NA else plain_text(value)

    return pd.Series([plain(value) for value in values.tolist()], index=values.index, dtype=object)


def as_truth(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """`True`, `False` or `None` as `object`, also from the words a CSV holds."""
    import pandas as pd

    def plain(value: str | None) -> bool | None:
        word = (value or "").strip().lower()
        return True if word in _TRUE else False if word in _FALSE else None

    return pd.Series([plain(value) for value in as_text(values)], index=values.index, dtype=object)


def as_names(values: "pd.Series[Any]") -> tuple["pd.Series[Any]", list[str]]:
    """Text as names (`ser_data.manifest.names.clean_name`), blank ones as `None`; and what changed, as it was."""
    import pandas as pd

    texts = as_text(values).tolist()
    names = [None if text is None else clean_name(text) or None for text in texts]
    changed = [text for text, name in zip(texts, names, strict=True) if text != name]
    return pd.Series(names, index=values.index, dtype=object), changed


@lru_cache(maxsize=1 << 12)
def clean_votes(votes: str) -> str:
    """The JSON object of votes with clean labels, counts of labels that become one added up; as it is if it is none."""
    try:
        counts = json.loads(votes)
    except ValueError:
        return votes
    if not isinstance(counts, dict) or all(clean_name(label) == label for label in counts):
        return votes
    total: Counter[str] = Counter()
    for label, count in counts.items():
        total[clean_name(label)] += count
    return json.dumps(total)


def conform(
    table: "pd.DataFrame", corpus: str, *, ids_as_stored: bool = False
) -> tuple["pd.DataFrame", dict[str, list[str]]]:
    """A copy with all manifest columns first, in fixed types and order, then the table's further columns as text.

    Args:
        table: Columns in any order, at least `id`.
        corpus: For rows without a corpus, and for errors.
        ids_as_stored: Leave ids as they are: rows of a cache are found under them.

    Returns:
        The copy, and by column the names that were not clean, as they were.

    Raises:
        BadManifest: No column `id`, or rows without an id.
    """
    import pandas as pd

    if "id" not in table.columns:
        raise BadManifest(corpus, "the table has no column 'id'", "Add one; ids must be unique.")
    done: dict[str, pd.Series[Any]] = {}
    unclean: dict[str, list[str]] = {}
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
        elif name in NAMES and not (name == "id" and ids_as_stored):
            done[name], changed = as_names(done[name])
            unclean |= {name: changed} if changed else {}
        else:
            done[name] = as_text(done[name])
    if done["id"].isna().any():
        raise BadManifest(corpus, f"{int(done['id'].isna().sum()):,} rows have no id", "Give every row an id.")
    done["corpus"] = done["corpus"].fillna(corpus).astype(object)
    done["votes"] = pd.Series(
        [None if votes is None else clean_votes(votes) for votes in done["votes"]], index=table.index, dtype=object
    )
    # Always computed, never believed: a hash that does not fit its text would name the wrong cache row.
    texts = [None if text is None else normalise(text) for text in done["text"].tolist()]
    hashes = [None if text is None else normalised_hash(text) for text in texts]
    done["text_normalised"] = pd.Series(texts, index=table.index, dtype=object)
    done["text_hash"] = pd.Series(hashes, index=table.index, dtype=object)
    done["duration"] = done["duration"].fillna(done["end"] - done["start"].fillna(0.0))
    return pd.DataFrame(done).reset_index(drop=True), unclean
