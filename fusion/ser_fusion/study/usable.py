"""What of a corpus can be used: folds that somebody else made, and streams that an utterance may lack."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from ser_cache import Entry
    from ser_data.protocols import Folds


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

    given = Folds.from_csv(path, once=once, known=set(table["id"]))
    kept = set(usable["id"])

    def part(ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in ids if name in kept)

    cut = tuple(replace(f, train=part(f.train), dev=part(f.dev), test=part(f.test)) for f in given.folds)
    folds = replace(given, folds=cut)
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
