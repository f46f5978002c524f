"""`manifest` and `official`: the folds that the corpus or the user's own table gives.

`part` (train/dev/test) makes one fold, `fold` makes one per value with the next as development part. `manifest` prefers
`fold`, `official` prefers `part`. What is held out is measured and printed, since nobody promised it.
"""

from typing import TYPE_CHECKING

from ser_data.errors import BadFolds, MissingColumn
from ser_data.protocols.base import Draft, Protocol, balanced_groups, rotate
from ser_data.protocols.originals import originals

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


def _official_5(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    (whole,) = from_parts(table, "official-5")
    key = next((name for name in ("dialogue", "speaker") if table[name][whole.pool].notna().all()), "id")
    column = table.assign(id=originals(table))[key]
    groups = balanced_groups(column[whole.pool], 5)
    if len(groups) < 2:
        problem = f"the training and development parts have one {key} together, so no development part can take turns"
        raise BadFolds("official-5", problem, "Give --protocol official.")
    group = column.map(groups).to_numpy(dtype=float, na_value=-1)
    drafts = [
        Draft(name=str(number + 1), test=whole.test, pool=whole.pool, dev=whole.pool & (group == number), own="rotated")
        for number in range(max(groups.values()) + 1)
    ]
    note = (
        f"training and development parts are put together; five groups of them by {key} take turns as development part"
    )
    return drafts, [note, "every fold tests the same official test part"]


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
OFFICIAL_5 = Protocol(
    name="official-5",
    title="the official test part five times, with five development parts: members of a fold ensemble",
    needs=(),
    held_out=None,
    dev="next",
    draft=_official_5,
    once=False,
)
