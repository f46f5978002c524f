"""Texts and names as people write them, in the one form in which they are compared.

The one text normalisation of the project, and the hash that names a text in the cache.

`normalise` is what text encoders see: annotators' tags are cut, typography and white space are unified, but case and
punctuation stay, because cased encoders use them. `comparison_key` is stricter and only for measuring how many texts of
the test part occur in training.

Names (labels, speakers, folds, ids ...) in the one form in which they are compared.

A spreadsheet shows " angry", "angry" and "angry" with a no-break space behind it as one word. So they must count as one class,
and as one speaker of a fold. Paths are not names: a file is found under the name that it has.
"""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import xxhash

if TYPE_CHECKING:
    import pandas as pd


# [LAUGHTER], [BREATHING], [GARBAGE], [LIPSMACK] of IEMOCAP and their like in other corpora: capitals in square brackets
TAG = re.compile(r"\[[A-Z][A-Z _-]*\]")
_NOT_WORD = re.compile(r"[\W_]+")
_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("’‘ʼ", "'"),
        **dict.fromkeys("“”„", '"'),
        **dict.fromkeys("–—−", "-"),
        "…": "...",
        "\ufeff": " ",
    }
)


def normalise(text: str) -> str:
    """Tags cut, Unicode composed (NFC), curly quotes and dashes made plain, white space collapsed.

    Idempotent: `normalise(normalise(x)) == normalise(x)`.
    """
    plain = " ".join(unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY).split())
    while "[" in plain and (cut := " ".join(TAG.sub(" ", plain).split())) != plain:
        plain = cut  # two cuts may put a new tag together: "[A[B] C]" needs another round
    return plain


def text_hash(text: str) -> str:
    """xxh3-128 of the normalised text's UTF-8, 32 hex digits. Lone surrogates are hashed as they are.

    As `normalise` is idempotent, raw and normalised text have the same hash.
    """
    return normalised_hash(normalise(text))


def normalised_hash(normalised: str) -> str:
    """The same for a text that `normalise` has given."""
    return xxhash.xxh3_128_hexdigest(normalised.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=1 << 16)  # the same sentences are asked for under one protocol after the other
def comparison_key(text: str) -> str:
    """Letters and digits only, case folded: two texts with one key are the same sentence to a listener."""
    return _NOT_WORD.sub(" ", normalise(text).casefold()).strip()


def has_tag(text: str) -> bool:
    """Whether the raw text holds an annotator's tag such as `[LAUGHTER]`."""
    return TAG.search(text) is not None


def wordless(text: str) -> str:
    """Why there is nothing to say in a text: tags only, nothing visible, or no letter and no digit; empty if there is a word."""
    if comparison_key(text):
        return ""
    if not visible(text):
        return "nothing visible"
    return "no letter and no digit" if visible(normalise(text)) else "nothing but tags"


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
