"""What can go wrong with a corpus, its labels and its folds.

The tree, so that a caller can catch as much as they mean:

```
CorpusError
├── UnknownLabel (ValueError)      a label that the scheme does not know
├── MissingColumn (KeyError)       a protocol needs a column that the manifest does not fill
├── BadManifest (ValueError)       a table that cannot be a manifest
├── BadRoot (FileNotFoundError)    a folder or file that is not this corpus
├── BadFolds (ValueError)          folds that break what they promise
└── MediaError                     a file, or a span of it, cannot be had: AudioError, VideoError
```

Facts are the arguments, the sentence is made in `__str__`, so that every error survives a process pool.
"""

from collections.abc import Mapping
from typing import ClassVar

from ser_base.errors import SerError, listing, suggestion


class CorpusError(SerError):
    """A corpus, its labels or its folds cannot be used as asked."""


class UnknownLabel(CorpusError, ValueError):
    """Labels that the scheme neither maps nor ignores."""

    def __init__(self, scheme: str, labels: tuple[str, ...], known: tuple[str, ...]) -> None:
        super().__init__(scheme, labels, known)
        self.scheme, self.labels, self.known = scheme, labels, known

    def __str__(self) -> str:
        return (
            f"label scheme '{self.scheme}' does not know {listing(repr(label) for label in self.labels)}.\n"
            f"{suggestion(self.labels[0], self.known)}It knows {listing(self.known, 40)}.\n"
            "Correct the labels, or give another scheme (ser data list --schemes) or an own map: --labels FILE.toml."
        )


class MissingColumn(CorpusError, KeyError):
    """A protocol needs a column that this manifest does not fill.

    Args:
        protocol: Name of the protocol.
        column: The column it needs.
        empty: How many of the rows have no value there.
        rows: How many rows there are.
        filled: Grouping columns that are filled.
        possible: Protocols that would work.
    """

    def __init__(
        self, protocol: str, column: str, empty: int, rows: int, filled: tuple[str, ...], possible: tuple[str, ...]
    ) -> None:
        super().__init__(protocol, column, empty, rows, filled, possible)
        self.protocol, self.column, self.empty, self.rows = protocol, column, empty, rows
        self.filled, self.possible = filled, possible

    def __str__(self) -> str:
        return (
            f"protocol '{self.protocol}' needs the column '{self.column}'; {self.empty:,} of {self.rows:,} utterances "
            f"have no value there.\nFilled are {listing(self.filled)}.\n"
            f"Fill it, or give a protocol that works with these columns: --protocol {listing(self.possible, 20)}."
        )


class BadManifest(CorpusError, ValueError):
    """A table or file that cannot be read as a manifest."""

    def __init__(self, where: str, problem: str, remedy: str) -> None:
        super().__init__(where, problem, remedy)
        self.where, self.problem, self.remedy = where, problem, remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}.\n{self.remedy}"


class BadRoot(CorpusError, FileNotFoundError):
    """A folder or file that does not hold the corpus that was asked for.

    Args:
        corpus: Name of the corpus.
        root: The path as typed.
        expected: What should be there.
        found: What is there.
        remedy: What to type next; empty for the general advice.
    """

    def __init__(self, corpus: str, root: str, expected: str, found: tuple[str, ...] = (), remedy: str = "") -> None:
        super().__init__(corpus, root, expected, found, remedy)
        self.corpus, self.root, self.expected, self.found, self.remedy = corpus, root, expected, found, remedy

    def __str__(self) -> str:
        return (
            f"{self.root} is no {self.corpus} corpus: no {self.expected} there; found: {listing(self.found, 8)}.\n"
            + (self.remedy or f"Give the folder that holds it: --root PATH (layout: ser data list {self.corpus}).")
        )


class BadFolds(CorpusError, ValueError):
    """Folds that cannot be made, or that break a key which they promise to hold out."""

    def __init__(self, protocol: str, problem: str, remedy: str) -> None:
        super().__init__(protocol, problem, remedy)
        self.protocol, self.problem, self.remedy = protocol, problem, remedy

    def __str__(self) -> str:
        return f"protocol '{self.protocol}': {self.problem}.\n{self.remedy}"


class MediaError(CorpusError):
    """A file, or a span of it, cannot be had as what it should hold.

    Attributes:
        REASONS: What each reason says.
        path: The file as given.
        reason: A key of `REASONS`, for `failures.csv`.
        detail: What is known beyond the reason; may be empty.
    """

    REASONS: ClassVar[Mapping[str, str]] = {}

    def __init__(self, path: str, reason: str, detail: str = "") -> None:
        super().__init__(path, reason, detail)
        self.path, self.reason, self.detail = path, reason, detail

    def __str__(self) -> str:
        return f"{self.path}: {self.REASONS.get(self.reason, self.reason)}" + (
            f" ({self.detail})" if self.detail else ""
        )
