"""What a protocol is, and the pieces that protocols are written with."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Mask = npt.NDArray[np.bool_]


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
        needs: Columns that every row must fill.
        held_out: Columns of which no value may be on both sides; `None` if given folds are taken and it is measured.
        dev: The rule that `--dev next` falls back to where the drafts have no development part of their own.
        draft: Function of the table (sorted by id) and the seed that returns the drafts and notes.
        once: Whether no utterance is tested in two folds.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    held_out: tuple[str, ...] | None
    dev: str
    draft: Callable[["pd.DataFrame", int], tuple[list[Draft], list[str]]]
    once: bool = True


def natural(value: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which `2` comes before `10`."""
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", value) if part
    )


def values_in_order(column: "pd.Series[Any]") -> list[str]:
    """The column's values, each once, in natural order."""
    return sorted((str(value) for value in column.dropna().unique()), key=lambda value: (natural(value), value))


def rotate(table: "pd.DataFrame", column: str) -> list[Draft]:
    """One draft per value of the column: it is tested, the next one in circular order is the development part."""
    values = values_in_order(table[column])
    masks = [(table[column] == value).to_numpy(dtype=bool) for value in values]
    return [
        Draft(name=value, test=masks[i], pool=~masks[i], dev=masks[(i + 1) % len(values)] & ~masks[i])
        for i, value in enumerate(values)
    ]


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
