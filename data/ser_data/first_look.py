"""Looks at a corpus: says what its columns and classes are, what is odd, and which protocol fits."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ser_base.errors import SerError, listing
from ser_data.corpora import CORPORA
from ser_data.errors import BadManifest, BadRoot, CorpusError
from ser_data.manifest.columns import COLUMNS
from ser_data.manifest.labels import LabelScheme, resolve_scheme
from ser_data.manifest.table import Manifest
from ser_data.protocols import Folds, make_folds
from ser_data.protocols.make import fitting_protocol
from ser_data.recognise import MEANT, Recognised
from ser_data.validate.checks import Tell
from ser_data.validate.run import Report, check

if TYPE_CHECKING:
    import pandas as pd

FEW = 10
"""A class with fewer utterances than this is named."""


class Unlabelled(CorpusError, ValueError):
    """A corpus without two classes: nothing can be learned from it."""

    root: str
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    renames: tuple[str, ...]
    got = "{root} has labels of {classes:n} classes, and training needs two or more."
    known = "Its columns are {columns:20}."
    next = "{advice}"

    @property
    def advice(self) -> str:
        return " ".join(self.renames) or "Add a column label with the emotion of each utterance."


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLook:
    """What a corpus is and holds, as its reader reads it.

    Attributes:
        recognised: Corpus and root.
        others: What else the path may be.
        report: The manifest and all findings of `ser data validate`.
        scheme: The label scheme that is meant.
        classes: Class -> utterances, in the scheme's order, classes that occur only.
        columns: Columns of a manifest that at least one row fills -> rows that fill it.
        folds: Of the protocol that fits; `None` where none does.
        odd: Sentences.
    """

    recognised: Recognised
    others: tuple[Recognised, ...]
    report: Report
    scheme: LabelScheme
    classes: dict[str, int]
    columns: dict[str, int]
    folds: Folds | None
    odd: tuple[str, ...]

    @property
    def manifest(self) -> Manifest:
        """The corpus as read."""
        return self.report.manifest

    @property
    def streams(self) -> tuple[str, ...]:
        """Of `audio` and `text` what the corpus has; video is added on request only."""
        return tuple(name for name, column in (("audio", "path"), ("text", "text")) if column in self.columns)


def look(
    guesses: Sequence[Recognised],
    *,
    labels: str | None = None,
    protocol: str | None = None,
    tell: Tell = lambda done, total: None,
) -> FirstLook:
    """Reads the first guess that its reader accepts, and looks at it.

    Args:
        guesses: From `recognise`, or one that the user names.
        labels: Label scheme; `None` for the corpus's own.
        protocol: Protocol; `None` for the first that fits.
        tell: Called with the recordings whose header was read, and all of them.

    Raises:
        BadRoot, BadManifest: No reader accepts it; the error is that of the first guess.
        Unlabelled: Fewer than two classes.
        CorpusError: The labels or the protocol that were asked for do not fit.
    """
    chosen, manifest = _read(guesses)
    table = manifest.table.copy()
    scheme = resolve_scheme(labels, manifest)
    table["class"] = scheme.apply(table["label"])
    counts = table["class"].value_counts()
    classes = {name: int(counts[name]) for name in scheme.classes if name in counts}
    columns = [name for name in table.columns if table[name].notna().any() and name != "class"]
    if len(classes) < 2:
        raise Unlabelled(str(chosen.root), tuple(classes), tuple(columns), tuple(_renames(columns)))
    usable = table[table["class"].notna()]
    name = protocol or fitting_protocol(usable)
    report = check(manifest, chosen.corpus, chosen.root, tell=tell)
    odd = [*_findings(report), *_oddities(usable, columns), *_renames(columns)]
    if name is None:
        odd.append("No protocol gives folds whose training parts hold every class. Add utterances or speakers.")
    return FirstLook(
        recognised=chosen,
        others=tuple(guess for guess in guesses if guess is not chosen),
        report=report,
        scheme=scheme,
        classes=classes,
        columns={column: int(table[column].notna().sum()) for column in COLUMNS if column in columns},
        folds=None if name is None else make_folds(usable, name),
        odd=tuple(odd),
    )


def _read(guesses: Sequence[Recognised]) -> tuple[Recognised, Manifest]:
    refused: SerError | None = None
    for guess in guesses:
        try:
            return guess, CORPORA[guess.corpus].read(guess.root)
        except (BadRoot, BadManifest) as error:
            refused = refused or error
    assert refused is not None
    if guesses[0].corpus == "csv" and (renames := _renames(_header(guesses[0].root))):
        refused.add_note(" ".join(renames))
    if guesses[0].corpus == "audiofolder":
        refused.add_note("Or write a CSV with the columns path and label: ser init TABLE.csv")
    raise refused


def _findings(report: Report) -> Iterator[str]:
    """Yields one sentence for each kind of finding, errors first."""
    kinds = Counter((finding.severity, finding.check) for finding in report.findings)
    first = {finding.check: finding for finding in reversed(report.findings)}
    for (severity, kind), count in sorted(kinds.items(), key=lambda item: (item[0][0] != "error", -item[1])):
        example = first[kind]
        place = example.id or example.where
        mark = "" if severity == "error" else " (a note)"
        yield f"{kind}: {count:,}{mark}, as {place + ': ' if place else ''}{example.what}."


def _oddities(table: "pd.DataFrame", columns: Sequence[str]) -> Iterator[str]:
    """Says what makes results doubtful before anything is trained; `table` has a column `class`."""
    if "speaker" not in columns:
        yield "There is no speaker: nobody can be held out, and scores may be about voices that were heard in training."
    elif empty := int(table["speaker"].isna().sum()):
        yield f"{empty:,} utterances have no speaker. Protocols that hold speakers out need one for each."
    for name, part in table.groupby("class"):
        if len(part) < FEW:
            yield f"Class {name} has {len(part):,} utterances: its recall moves by {100 / len(part):.0f} points with each."
        elif "speaker" in columns and table["speaker"].nunique() > 1 and part["speaker"].nunique() == 1:
            yield f"Class {name} has one speaker only: a model may learn the voice instead of the emotion."
    for column in ("session", "scenario", "gender"):
        if column in columns and table[column].nunique() > 1:
            tied = [str(name) for name, part in table.groupby("class") if part[column].nunique() == 1]
            if tied:
                yield f"Classes {listing(tied)} occur with one {column} only: a model may learn that instead."
    texts = table["text_hash"].dropna()
    if "text" in columns and 0 < texts.nunique() <= len(texts) / 20:
        yield f"{len(texts):,} utterances have {texts.nunique():,} different texts: a script. Text alone should score at chance."


def _header(table: Path) -> tuple[str, ...]:
    from ser_data.manifest.csv_file import read_csv

    try:
        return read_csv(table).header
    except (CorpusError, OSError):
        return ()


def _renames(columns: Sequence[str]) -> list[str]:
    """Returns sentences for columns that a manifest calls otherwise, where its own name is not taken."""
    present = {str(name).strip().lower().replace(" ", "_"): str(name) for name in columns}
    lines = []
    for column, synonyms in MEANT.items():
        if column not in present and (synonym := next((present[name] for name in synonyms if name in present), None)):
            lines.append(f"Rename the column '{synonym}' to '{column}'.")
    return lines
