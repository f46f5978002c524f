"""Several corpora in one manifest (`ser data join`): train on some, test on others.

`corpus`                leave one corpus out: all others train.
`source-target`         one fold for each ordered pair of corpora; with k corpora every utterance is tested k - 1 times.
`source-target+within`  the same, and within each corpus five groups of speakers, for the diagonal of the table.

The development part is a fifth of the speakers of each corpus that trains: no utterance of the tested corpus chooses an
epoch. Held out are the corpus, its speakers and its audio files (`audio_hash`, which `ser data join` fills). Corpora share speakers
only where one corpus was split, as MELD by season. The same recording in two corpora is refused.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ser_data.protocols.base import Draft, Mask, Protocol, balanced_groups, values_in_order

if TYPE_CHECKING:
    import pandas as pd

GROUPS = 5
ARROW = "->"
OWN = "source-speakers"


def _rows(table: "pd.DataFrame") -> dict[str, Mask]:
    return {name: (table["corpus"] == name).to_numpy(dtype=bool) for name in values_in_order(table["corpus"])}


def _groups(table: "pd.DataFrame", rows: Mask) -> list[Mask]:
    """A corpus's speakers in up to five groups of about equal size; one group where speakers are not known throughout."""
    speakers = table["speaker"][rows]
    if speakers.isna().any():
        return [rows]
    chosen = table["speaker"].map(balanced_groups(speakers, GROUPS)).to_numpy(dtype=float, na_value=-1)
    return [(chosen == number) & rows for number in range(min(GROUPS, speakers.nunique()))]


def _development(table: "pd.DataFrame", sources: list[Mask]) -> Mask | None:
    """The last group of speakers of each source; `None` if a source has none to spare."""
    groups = [_groups(table, rows) for rows in sources]
    if any(len(speakers) < 2 for speakers in groups):
        return None
    return np.logical_or.reduce([speakers[-1] for speakers in groups])


def _draft(table: "pd.DataFrame", name: str, target: Mask, sources: list[Mask]) -> Draft:
    pool = np.logical_or.reduce(sources)
    return Draft(name=name, test=target, pool=pool, dev=_development(table, sources), own=OWN)


def _same(drafts: list[Draft]) -> tuple[list[Draft], list[str]]:
    """All drafts with a development part of speakers, or none of them and a note."""
    lacking = [draft.name for draft in drafts if draft.dev is None]
    if not lacking:
        return drafts, []
    note = (
        f"fold {lacking[0]} has a source without speakers to develop on: there, utterances are drawn (--dev random:0.2)"
    )
    return [replace(draft, dev=None, own="next") for draft in drafts], [note]


def _leave_one_out(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    rows = _rows(table)
    drafts = [
        _draft(table, name, target, [other for key, other in rows.items() if key != name])
        for name, target in rows.items()
    ]
    return _same(drafts)


def _pairs(table: "pd.DataFrame") -> list[Draft]:
    rows = _rows(table)
    return [
        _draft(table, f"{source}{ARROW}{target}", rows[target], [rows[source]])
        for source in rows
        for target in rows
        if source != target
    ]


def _source_target(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    return _same(_pairs(table))


def _with_diagonal(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    drafts, notes = _pairs(table), []
    for name, rows in _rows(table).items():
        groups = _groups(table, rows)
        if len(groups) < 3:
            notes.append(f"{name} has fewer than three speakers: no score within it")
            continue
        for number, test in enumerate(groups):
            dev = groups[(number + 1) % len(groups)]
            inside = f"{name}{ARROW}{name} {number + 1}"
            drafts.append(Draft(name=inside, test=test, pool=rows & ~test, dev=dev, own=OWN))
    drafts, more = _same(drafts)
    pooled = "scores pooled over all folds mix transfer and within-corpus folds: read the table source x target"
    return drafts, [*notes, *more, pooled]


CORPUS = Protocol(
    name="corpus",
    title="one corpus is tested, all others train; develops on a fifth of their speakers",
    needs=("corpus",),
    held_out=("corpus", "speaker", "audio_hash"),
    dev="random:0.2",
    draft=_leave_one_out,
)
SOURCE_TARGET = Protocol(
    name="source-target",
    title="one fold per ordered pair of corpora: trains on the first, tests on the second",
    needs=("corpus",),
    held_out=("corpus", "speaker", "audio_hash"),
    dev="random:0.2",
    draft=_source_target,
    once=False,
)
SOURCE_TARGET_WITHIN = Protocol(
    name="source-target+within",
    title="the same, and five groups of speakers within each corpus: the diagonal of the table",
    needs=("corpus",),
    held_out=("speaker", "audio_hash"),
    dev="random:0.2",
    draft=_with_diagonal,
    once=False,
)
