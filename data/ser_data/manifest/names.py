"""Names (labels, speakers, folds, ids ...) in the one form in which they are compared.

A spreadsheet shows " angry", "angry" and "angry" with a no-break space behind it as one word, and so must everything that
counts classes or keeps a speaker on one side of a fold. Paths are no names: a file is found under the name that it has.
"""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("id", "corpus", "label", "speaker", "session", "dialogue", "scenario", "gender", "fold", "part")
"""Columns of a manifest that hold names."""

# White space, and characters that no screen shows: soft hyphen, zero-width space and joiners, marks of direction, BOM.
_BLANK = r"[\s\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
_ENDS = re.compile(f"^{_BLANK}+|{_BLANK}+$")
_ANYWHERE = re.compile(_BLANK)


def clean_name(text: str) -> str:
    """A name without blanks at its ends, Unicode composed (NFC); no-break and zero-width spaces are blanks. Idempotent."""
    if text.isascii():
        return text.strip()
    return _ENDS.sub("", unicodedata.normalize("NFC", _ENDS.sub("", text)))


def plain_text(value: Any) -> str | None:
    """A cell as text: `None` for missing and empty; a whole number loses the `.0` that JSON and CSV readers give it."""
    if type(value) is str:
        return value or None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) or None


def as_name(value: Any) -> str | None:
    """A cell as a name: `plain_text`, then `clean_name`; `None` where nothing is left."""
    text = plain_text(value)
    return None if text is None else clean_name(text) or None


def visible(text: str) -> str:
    """The text without blanks anywhere: empty exactly if there is nothing to see."""
    return _ANYWHERE.sub("", text)


def alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of different names that differ only in case, blanks or Unicode form, each sorted."""
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        groups[visible(unicodedata.normalize("NFKC", name)).casefold()].add(name)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def alike_in(table: "pd.DataFrame") -> list[tuple[str, tuple[str, ...]]]:
    """(column, names) of every such group in a manifest's columns of names."""
    return [
        (column, names)
        for column in NAMES
        if column in table
        for names in alike(str(name) for name in table[column].dropna().unique())
    ]
