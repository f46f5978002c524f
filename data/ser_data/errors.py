"""What can go wrong with a corpus, its labels and its folds.

The tree, so that a caller can catch as much as they mean:

```
CorpusError
├── UnknownLabel (ValueError)      a label that the scheme does not know
├── MissingColumn (KeyError)       a protocol needs a column that the manifest does not fill
├── BadManifest (ValueError)       a table that cannot be a manifest
├── BadRoot (FileNotFoundError)    a folder or file that is not this corpus
├── BadFolds (ValueError)          folds that break what they promise
└── MediaError                     a file, or a span of it, cannot be decoded: AudioError, VideoError
```
"""

from collections.abc import Mapping
from typing import ClassVar

from ser_base.errors import SerError, listing, suggestion


class CorpusError(SerError):
    """A corpus, its labels or its folds cannot be used as asked."""


class UnknownLabel(CorpusError, ValueError):
    """Labels that the scheme neither maps nor ignores."""

    scheme: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    got = "label scheme '{scheme}' does not know {quoted:12}."
    known = "{near}It knows {names:40}."
    next = "Correct the labels, or use another scheme (ser data list --schemes) or your own map: --labels FILE.toml."

    @property
    def quoted(self) -> list[str]:
        return [repr(label) for label in self.labels]

    @property
    def near(self) -> str:
        return suggestion(self.labels[0], self.names)


class MissingColumn(CorpusError, KeyError):
    """A protocol needs a column that this manifest does not fill.

    Attributes:
        protocol: Name of the protocol.
        column: The column it needs.
        empty: How many of the rows have no value there.
        rows: How many rows there are.
        filled: Grouping columns that are filled.
        possible: Protocols that would work.
    """

    protocol: str
    column: str
    empty: int
    rows: int
    filled: tuple[str, ...]
    possible: tuple[str, ...]
    got = "protocol '{protocol}' needs the column '{column}'; {empty:,} of {rows:,} utterances have no value there."
    known = "Filled columns: {filled:12}."
    next = "Fill the column, or use a protocol that works with these columns: --protocol {possible:20}."


class BadManifest(CorpusError, ValueError):
    """A table or file that cannot be read as a manifest."""

    where: str
    problem: str
    remedy: str
    got = "{where}: {problem}."
    next = "{remedy}"


class BadRoot(CorpusError, FileNotFoundError):
    """A folder or file that does not hold the corpus that was asked for.

    Attributes:
        corpus: Name of the corpus.
        root: The path as typed.
        expected: What the corpus should have there.
        names: What the folder holds instead.
        remedy: What to type next; empty for the general advice.
        problem: What is wrong with the path itself; empty if something is missing in it.
    """

    corpus: str
    root: str
    expected: str
    names: tuple[str, ...] = ()
    remedy: str = ""
    problem: str = ""
    got = "{root} {sentence}."
    next = "{advice}"

    @property
    def sentence(self) -> str:
        if self.problem:
            return self.problem
        holds = f"; it holds {listing(self.names, 8)}" if self.names else ""
        return f"does not hold the corpus '{self.corpus}': it has no {self.expected}{holds}"

    @property
    def advice(self) -> str:
        return self.remedy or f"Give the corpus's folder as ROOT (layout: ser data list {self.corpus})."


class BadFolds(CorpusError, ValueError):
    """Folds that cannot be made, or that break a key which they promise to hold out."""

    protocol: str
    problem: str
    remedy: str
    got = "protocol '{protocol}': {problem}."
    next = "{remedy}"


class MediaError(CorpusError):
    """A file, or a span of it, cannot be decoded as what it should hold.

    Attributes:
        REASONS: Sentence of each reason.
        path: The file as typed.
        reason: A key of `REASONS`, for `failures.csv`.
        detail: What is known beyond the reason; may be empty.
    """

    REASONS: ClassVar[Mapping[str, str]] = {}
    path: str
    reason: str
    detail: str = ""
    got = "{path}: {sentence}"

    @property
    def sentence(self) -> str:
        """The reason in words, and what is known beyond it."""
        return self.REASONS.get(self.reason, self.reason) + (f" ({self.detail})" if self.detail else "")
