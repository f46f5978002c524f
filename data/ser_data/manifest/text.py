"""The one text normalisation of the project, and the hash that names a text in the cache.

`normalise` is what text encoders see: annotators' tags are cut, typography and white space are unified, but case and
punctuation stay, because cased encoders use them. `comparison_key` is stricter and only for measuring how many texts of
the test part occur in training.
"""

import re
import unicodedata

import xxhash

from ser_data.manifest.names import visible

# [LAUGHTER], [BREATHING], [GARBAGE], [LIPSMACK] of IEMOCAP and their like in other corpora: capitals in square brackets
TAG = re.compile(r"\[[A-Z][A-Z _-]*\]")
_NOT_WORD = re.compile(r"[\W_]+")
_TYPOGRAPHY = str.maketrans(
    {
        "’": "'",
        "‘": "'",
        "ʼ": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "–": "-",
        "—": "-",
        "−": "-",
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
