"""Versions of one utterance: clean speech and its perturbed copies (`ser data perturb --with-clean`).

Two versions hold the same performance. Whatever is drawn at random is therefore drawn by original, and no original may have
versions on both sides of a fold.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

SOURCE, MARK = "source", "perturbation"
"""Columns: the id of the utterance that a row is made from, and what was done to it (`none` for itself)."""


def originals(table: "pd.DataFrame") -> npt.NDArray[np.object_]:
    """The id of each row's original, (rows,); a row that is nobody's copy is its own.

    `source` names an original in a table that also has `perturbation`; elsewhere only where it is the id of a row, since
    corpora keep other things (file names) in a column of that name.
    """
    ids = table["id"].to_numpy(dtype=object)
    if SOURCE not in table.columns:
        return ids
    copies = MARK in table.columns and bool(table[MARK].notna().any())
    known = set(ids)
    parents: dict[Any, Any] = {
        name: source
        for name, source in zip(ids, table[SOURCE].to_numpy(dtype=object), strict=True)
        if isinstance(source, str) and source != name and (copies or source in known)
    }
    return np.array([_root(name, parents) for name in ids], dtype=object)


def has_copies(table: "pd.DataFrame") -> bool:
    """Whether some row is another row's copy."""
    return bool((originals(table) != table["id"].to_numpy(dtype=object)).any())


def firsts(table: "pd.DataFrame", rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """One row per original among these rows, ascending, and for each of the rows the place of its original in that list."""
    _, first, place = np.unique(originals(table)[rows].astype(str), return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rows[first[order]], rank[place]


def _root(name: Any, parents: dict[Any, Any]) -> Any:
    seen = {name}
    while (parent := parents.get(name)) is not None and parent not in seen:
        seen.add(name := parent)
    return name
