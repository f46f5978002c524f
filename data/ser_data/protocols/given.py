"""`manifest` and `official`: the folds that the corpus or the user's own table gives.

`part` (train/dev/test) makes one fold, `fold` makes one per value with the next as development part. `manifest` prefers
`fold`, `official` prefers `part`. What is held out is measured and printed, since nobody promised it.
"""

from typing import TYPE_CHECKING

from ser_data.errors import BadFolds, MissingColumn
from ser_data.protocols.base import Draft, Protocol, rotate

if TYPE_CHECKING:
    import pandas as pd


def from_parts(table: "pd.DataFrame", name: str) -> list[Draft]:
    """One draft from the column `part`; rows without a part are not used.

    Raises:
        BadFolds: No test or no train rows.
    """
    masks = {part: (table["part"] == part).to_numpy(dtype=bool) for part in ("train", "dev", "test")}
    for part in ("train", "test"):
        if not masks[part].any():
            raise BadFolds(name, f"the column 'part' has no '{part}'", "Fill it with train, dev and test.")
    dev = masks["dev"] if masks["dev"].any() else None
    return [Draft(name=name, test=masks["test"], pool=masks["train"] | masks["dev"], dev=dev, own="official")]


def _given(table: "pd.DataFrame", name: str, order: tuple[str, str]) -> tuple[list[Draft], list[str]]:
    for column in order:
        empty = int(table[column].isna().sum())
        if empty == len(table):
            continue
        notes = [f"{empty:,} utterances without '{column}' are in no part"] if empty else []
        if column == "part":
            return from_parts(table, name), notes
        drafts = rotate(table, "fold")
        placed = table["fold"].notna().to_numpy(dtype=bool)
        return [Draft(name=d.name, test=d.test, pool=d.pool & placed, dev=d.dev) for d in drafts], notes
    filled = tuple(key for key in ("speaker", "session", "scenario") if table[key].notna().all())
    possible = tuple(f for f in ("session", "speaker", "scenario") if f in filled)
    raise MissingColumn(name, order[0], len(table), len(table), filled, (*possible, "random"))


def _manifest(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    return _given(table, "manifest", ("fold", "part"))


def _official(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    return _given(table, "official", ("part", "fold"))


MANIFEST = Protocol(
    name="manifest",
    title="the folds (column fold) or the split (column part) of the manifest",
    needs=(),
    held_out=None,
    dev="next",
    draft=_manifest,
)
OFFICIAL = Protocol(
    name="official",
    title="the corpus's own split: MELD train/dev/test, RAVDESS actor folds as in EmoBox",
    needs=(),
    held_out=None,
    dev="next",
    draft=_official,
)
