"""What a protocol is, and the pieces that protocols are written with.

Several rows may be versions of one utterance: clean speech and its perturbed copies (`ser data perturb --with-clean`). They
hold the same performance. Whatever is drawn at random is therefore drawn by original, and no original may have versions on
both sides of a fold.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Mask = npt.NDArray[np.bool_]

SOURCE, MARK = "source", "perturbation"
"""Columns: the id of the utterance that a row is made from, and what was done to it (`none` for itself)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A fold before its development part is chosen. All masks have one value per row of the table, sorted by id.

    Attributes:
        name: The fold's name.
        test: Rows that are tested.
        pool: Rows that may train or develop; none of them is tested.
        dev: The protocol's own development part, inside the pool; `None` if it has none.
        own: What that part is called in results: `next`, `partner` or `official`.
    """

    name: str
    test: Mask
    pool: Mask
    dev: Mask | None
    own: str = "next"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A rule that makes folds from a manifest.

    Attributes:
        name: Its name on the command line.
        title: One line for lists.
        held_out: Columns of which no value may be on both sides; `None` where the folds exist already and it is measured.
        draft: Function of the table (sorted by id) and the seed that returns the drafts and notes.
        needs: Columns that every row must fill.
        dev: The rule that `--dev next` falls back to where the drafts have no development part of their own.
        once: Whether no utterance is tested in two folds.
    """

    name: str
    title: str
    held_out: tuple[str, ...] | None
    draft: Callable[["pd.DataFrame", int], tuple[list[Draft], list[str]]]
    needs: tuple[str, ...] = ()
    dev: str = "next"
    once: bool = True


def natural(value: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which `2` comes before `10`."""
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", value) if part
    )


def values_in_order(column: "pd.Series[Any]") -> list[str]:
    """The column's values, each once, in natural order."""
    return sorted((str(value) for value in column.dropna().unique()), key=lambda value: (natural(value), value))


def in_turn(parts: Mapping[str, Mask]) -> list[Draft]:
    """One draft per part (name -> rows): it is tested, all others are the pool, and the next one in circular order develops."""
    masks = list(parts.values())
    return [
        Draft(name=name, test=test, pool=~test, dev=masks[(i + 1) % len(masks)] & ~test)
        for i, (name, test) in enumerate(parts.items())
    ]


def rotate(table: "pd.DataFrame", column: str) -> list[Draft]:
    """The values of a column in turn."""
    return in_turn({value: (table[column] == value).to_numpy(dtype=bool) for value in values_in_order(table[column])})


def balanced_groups(column: "pd.Series[Any]", groups: int) -> dict[str, int]:
    """Value -> group number from 0, groups of about equal row counts.

    The largest value goes first, each to the group with the fewest rows so far; ties go by name and number, so that the
    result depends on the counts only, never on the order of rows.
    """
    counts = column.value_counts()
    names: Sequence[str] = sorted(counts.index, key=lambda name: (-int(counts[name]), natural(str(name)), str(name)))
    sizes = [0] * min(groups, len(names))
    chosen: dict[str, int] = {}
    for name in names:
        smallest = sizes.index(min(sizes))
        chosen[name] = smallest
        sizes[smallest] += int(counts[name])
    return chosen


def originals(table: "pd.DataFrame") -> npt.NDArray[np.object_]:
    """The id of each row's original, (rows,); a row that is not a copy is its own original.

    `source` names an original in a table that also has `perturbation`; elsewhere only where it is the id of a row, since
    corpora keep other things (file names) in a column of that name.
    """
    ids = table["id"].to_numpy(dtype=object)
    if SOURCE not in table.columns:
        return ids
    copies = MARK in table.columns and bool(table[MARK].notna().any())
    present = set(ids)
    parents: dict[Any, Any] = {
        name: source
        for name, source in zip(ids, table[SOURCE].to_numpy(dtype=object), strict=True)
        if isinstance(source, str) and source != name and (copies or source in present)
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
