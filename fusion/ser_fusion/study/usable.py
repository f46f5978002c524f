"""What of a corpus can be used: its classes, its ratings, folds that somebody else made, streams that an utterance may lack."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.errors import ClassMissing, FusionError, OneClass

if TYPE_CHECKING:
    import pandas as pd

    from ser_cache import Entry
    from ser_data.protocols import Folds
    from ser_fusion.study.data import StudyData


# Folds that somebody else made (``--folds FILE``): without what cannot be used, checked, and with what they hold out in fact.
def given_folds(path: str | Path, once: bool, table: "pd.DataFrame", usable: "pd.DataFrame") -> "Folds":
    """The folds of a CSV (id, fold, part) on the utterances that can be used.

    Args:
        path: The file.
        once: Whether no utterance may be tested in two folds.
        table: All rows of the manifest.
        usable: Those that have a label and every stream.

    Raises:
        BadFolds: The file cannot be read, names an id that the manifest does not have, or has an id in two parts of a fold.
    """
    from ser_data.protocols import Folds
    from ser_data.protocols.make import measured

    read = Folds.from_csv(path, once=once, verbatim=set(table["id"]))
    kept = set(usable["id"])

    def part(ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in ids if name in kept)

    cut = tuple(replace(f, train=part(f.train), dev=part(f.dev), test=part(f.test)) for f in read.folds)
    folds = replace(read, folds=cut)
    folds.check(usable)
    held_out, note = measured(usable, folds.folds)
    return replace(folds, held_out=held_out, notes=(*folds.notes, f"folds as given; {note}"))


# Streams that an utterance may lack: it keeps its place and has no frames there.
OPTIONAL = ("video",)
"""Streams that an utterance may lack: it keeps its place, without frames there. One that lacks another is left out."""


def mask(
    layers: Mapping[str, tuple["Entry", ...]], ids: list[str]
) -> tuple[dict[str, tuple["Entry", ...]], dict[str, int], list[str]]:
    """Rows without frames for utterances that lack an optional stream; how many there are, and notes that say why."""
    done, masked, notes = dict(layers), {}, []
    for stream in OPTIONAL:
        if stream not in layers:
            continue
        lacking: dict[str, str] = {}
        for entry in layers[stream]:
            lacking |= {name: entry.failures[name].reason for name in ids if name not in entry}
        done[stream] = tuple(entry.with_empty(name for name in ids if name not in entry) for entry in layers[stream])
        for name, length in zip(ids, done[stream][-1].lengths(ids).tolist(), strict=True):
            if not length:
                lacking.setdefault(name, "none")
        masked[stream] = len(lacking)
        if lacking:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(Counter(lacking.values()).items()))
            notes.append(f"{len(lacking):,} of {len(ids):,} utterances take part without {stream} ({reasons})")
    return done, masked, notes


def check_two_classes(study: "StudyData") -> None:
    """Refuses a corpus in which there is nothing to tell apart.

    Raises:
        OneClass: All utterances are of one class.
    """
    if len(study.classes) < 2:
        raise OneClass(study.classes, len(study.table), study.labels)


def check_classes(study: "StudyData", fold: str, rows: NDArray[np.int64], least: int | None = None) -> None:
    """Refuses a training part without an example of some class.

    Args:
        study: Whose classes.
        fold: Name of the fold.
        rows: Its training part.
        least: How many classes it must hold; None for all.

    Raises:
        ClassMissing: It holds fewer.
    """
    numbers = np.bincount(study.targets[rows], minlength=len(study.classes))
    counts = {name: int(n) for name, n in zip(study.classes, numbers, strict=True)}
    lacking = tuple(name for name, n in counts.items() if not n)
    if len(counts) - len(lacking) < (len(counts) if least is None else least):
        raise ClassMissing(fold, lacking, counts, study.folds.protocol)


DIMENSIONS = ("valence", "arousal", "dominance")
CLASS = "rated"  # the one class of a study of ratings


class RatingsMissing(FusionError, ValueError):
    """The corpus does not have ratings of valence, arousal or dominance."""

    option: str
    source: str
    rows: int
    got = "{option} is not possible: none of the {rows:,} utterances of {source} has valence, arousal or dominance."
    next = "Give a manifest with these columns (--manifest), or leave the option out."


def dimensions_of(table: "pd.DataFrame") -> tuple[str, ...]:
    """The dimensions that a manifest's table has values of, in the order of ``DIMENSIONS``."""
    return tuple(name for name in DIMENSIONS if name in table and np.isfinite(_values(table, name)).any())


def ratings_of(table: "pd.DataFrame", dimensions: tuple[str, ...]) -> NDArray[np.float32]:
    """Ratings (utterances, dimensions) on the corpus's scale; NaN where there is none."""
    columns = [_values(table, name) for name in dimensions]
    return np.stack(columns, axis=1) if columns else np.zeros((len(table), 0), dtype=np.float32)


def rated(table: "pd.DataFrame") -> "pd.Series[Any]":
    """``CLASS`` for utterances with a rating in every dimension of the corpus, else None; the table's index.

    Raises:
        RatingsMissing: No utterance has a rating.
    """
    import pandas as pd

    dimensions = dimensions_of(table)
    if not dimensions:
        corpus = str(table["corpus"].iloc[0]) if len(table) else "the manifest"
        raise RatingsMissing("--task vad", corpus, len(table))
    named: list[Any] = [CLASS if np.isfinite(row).all() else None for row in ratings_of(table, dimensions)]
    return pd.Series(named, index=table.index, dtype=object)


def _values(table: "pd.DataFrame", name: str) -> NDArray[np.float32]:
    return np.asarray(table[name], dtype=np.float32)


class NoReference(FusionError, ValueError):
    """Speakers cannot be normalised by their own speech."""

    norm: str
    problem: str
    got = "--norm {norm} is not possible: {problem}."
    next = "Use --norm train, or correct the manifest."


def groups_of(study: "StudyData", norm: str) -> tuple[NDArray[np.int64] | None, NDArray[np.bool_] | None]:
    """Who is normalised together, and by whose speech.

    Args:
        study: The utterances.
        norm: ``train``, ``corpus``, ``speaker`` or ``speaker-neutral``.

    Returns:
        Number of each utterance's group, (utterances,), or None for ``train``; which utterances give their group's mean and
        deviation, (utterances,), or None for all.

    Raises:
        NoReference: Utterances without a speaker; for ``speaker-neutral`` no neutral class, or speakers without neutral speech.
    """
    if norm == "train":
        return None, None
    names, groups = np.unique(_names(study, norm), return_inverse=True)
    groups = groups.astype(np.int64)
    if norm != "speaker-neutral":
        return groups, None
    neutral = next((name for name in study.classes if name.lower().startswith("neu")), None)
    if neutral is None:
        raise NoReference(norm, f"no class is called neutral; classes are {', '.join(study.classes)}")
    reference = study.targets == study.classes.index(neutral)
    lacking = [str(name) for number, name in enumerate(names) if not reference[groups == number].any()]
    if lacking:
        raise NoReference(norm, f"{len(lacking)} speakers have no neutral utterance: {', '.join(lacking[:3])}")
    return groups, reference


def _names(study: "StudyData", norm: str) -> NDArray[np.str_]:
    if norm == "corpus":
        return study.table["corpus"].to_numpy().astype(str)
    speakers = study.table["speaker"]
    if speakers.isna().any():
        raise NoReference(norm, f"{int(speakers.isna().sum()):,} utterances have no speaker")
    return speakers.to_numpy().astype(str)
