"""Folds made by others: the corpus, the user's table, or a publication.

`manifest` and `official`: the folds that the corpus or the user's own table gives.

`part` (train/dev/test) makes one fold, `fold` makes one per value with the next as development part. `manifest` prefers
`fold`, `official` prefers `part`. What they hold out is measured and printed, since the folds make no promise.

Folds of others, for comparison with their numbers: `s3prl-er` and `emobox`.

- `s3prl-er` (SUPERB's emotion recognition): IEMOCAP, four classes with excited merged into happy (5,531), one session is
  tested, a random 20 % of the others is the development part. Test and training sessions are theirs; which 20 % they drew
  depends on the order of their file list, which the ids do not give.
- `emobox`: IEMOCAP by session, RAVDESS in six groups of actors, MELD as published. EmoBox's code uses the whole training
  part as development part as well; here a random 20 % of it is taken out.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from ser_base.errors import listing
from ser_data.errors import BadFolds, MissingColumn
from ser_data.protocols.base import Draft, Protocol, balanced_groups, natural, originals, rotate

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
        return [replace(draft, pool=draft.pool & placed) for draft in drafts], notes
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
    held_out=None,
    draft=_manifest,
)
OFFICIAL = Protocol(
    name="official",
    title="the corpus's own split: MELD train/dev/test, RAVDESS actor folds as in EmoBox",
    held_out=None,
    draft=_official,
)
OFFICIAL_5 = Protocol(
    name="official-5",
    title="the official test part five times, with five development parts: members of a fold ensemble",
    held_out=None,
    draft=_official_5,
    once=False,
)


S3PRL_LABELS = frozenset({"neu", "hap", "exc", "ang", "sad"})
# EmoBox's six folds by actor: emo-box/EmoBox, data/ravdess, 240 test clips each.
RAVDESS_ACTORS: tuple[frozenset[int], ...] = (
    frozenset({1, 11, 20, 21}),
    frozenset({4, 10, 12, 14}),
    frozenset({8, 9, 19, 23}),
    frozenset({3, 5, 7, 24}),
    frozenset({2, 15, 16, 18}),
    frozenset({6, 13, 17, 22}),
)
RAVDESS_FOLD = {actor: str(number) for number, actors in enumerate(RAVDESS_ACTORS, 1) for actor in actors}


def _s3prl(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    used = table["label"].isin(S3PRL_LABELS).to_numpy(dtype=bool)
    if not used.any():
        labels = listing(sorted(table["label"].dropna().unique()))
        raise BadFolds(
            "s3prl-er",
            f"no label of {listing(sorted(S3PRL_LABELS))}; the labels are {labels}",
            "Use this protocol with IEMOCAP's own labels.",
        )
    drafts = [replace(d, test=d.test & used, pool=d.pool & used, dev=None) for d in rotate(table, "session")]
    left = int((~used).sum())
    notes = [f"{left:,} utterances outside the four classes are in no part"] if left else []
    return drafts, [*notes, "the development part shares speakers with training, as in s3prl"]


def _emobox(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    corpora = sorted(table["corpus"].dropna().unique())
    note = "the development part is drawn from training (EmoBox's own code develops on all of it)"
    if corpora == ["iemocap"]:
        if table["session"].isna().any():
            empty = int(table["session"].isna().sum())
            raise MissingColumn("emobox", "session", empty, len(table), (), ("random",))
        return [replace(draft, dev=None) for draft in rotate(table, "session")], [note]
    if corpora == ["ravdess"]:
        folds = [RAVDESS_FOLD.get(_actor(speaker), "") for speaker in table["speaker"]]
        if "" in folds:
            strange = table["speaker"].iloc[folds.index("")]
            raise BadFolds(
                "emobox",
                f"speaker '{strange}' is not a RAVDESS actor",
                "Name the speakers so that they end in a number from 1 to 24.",
            )
        return [replace(draft, dev=None) for draft in rotate(table.assign(fold=folds), "fold")], [note]
    if corpora == ["meld"]:
        return from_parts(table, "emobox"), []
    remedy = "Give --protocol session, speaker or manifest; EmoBox's folds are known for iemocap, meld and ravdess."
    raise BadFolds("emobox", f"no folds for the corpus {listing(corpora)}", remedy)


def _actor(speaker: str | None) -> int:
    parts = natural(speaker or "")
    return parts[-1][1] if parts else 0


S3PRL_ER = Protocol(
    name="s3prl-er",
    title="SUPERB's: IEMOCAP sessions, four classes (5,531), random 20 % development",
    needs=("session",),
    held_out=("session", "speaker"),
    dev="random:0.2",
    draft=_s3prl,
)
EMOBOX = Protocol(
    name="emobox",
    title="EmoBox's: IEMOCAP sessions, six groups of RAVDESS actors, MELD's split",
    held_out=None,
    dev="random:0.2",
    draft=_emobox,
)
