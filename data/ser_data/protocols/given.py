"""Folds made by others: the corpus, the user's table, or a publication.

`manifest` and `official`: the folds that the corpus or the user's own table gives.

`part` (train/dev/test) makes one fold, `fold` makes one per value with the next as development part. `manifest` prefers
`fold`, `official` prefers `part`. What they hold out is measured and printed, since the folds make no promise.

Folds of others, for comparison with their numbers: `s3prl-er` and `emobox`.

- `s3prl-er` (SUPERB's emotion recognition): IEMOCAP, four classes with excited merged into happy (5,531), one session is
  tested, a random 20 % of the others is the development part. Test and training sessions are theirs; which 20 % they drew
  depends on the order of their file list, which the ids do not give.
- `emobox`: IEMOCAP by session, RAVDESS in six groups of actors, MELD as published. The folds of the other corpora are read
  from EmoBox's own files (`published_folds`). EmoBox's code uses the whole training part as development part as well; here
  a random 20 % of it is taken out, where EmoBox does not publish a validation file.
"""

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_base.errors import listing
from ser_data.errors import BadFolds, MissingColumn
from ser_data.protocols.base import Draft, Mask, Protocol, balanced_groups, natural, originals, rotate

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


def _by_column(table: "pd.DataFrame", name: str, order: tuple[str, str]) -> tuple[list[Draft], list[str]]:
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
    return _by_column(table, "manifest", ("fold", "part"))


def _official(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    return _by_column(table, "official", ("part", "fold"))


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
    remedy = "Give --folds-root DIR with the folder data of EmoBox's repository, or --protocol session or speaker."
    raise BadFolds("emobox", f"no folds for the corpus {listing(corpora)}", remedy)


def published_folds(table: "pd.DataFrame", root: Path) -> tuple[list[Draft], list[str]]:
    """EmoBox's published folds: `fold_1/NAME_train_fold_1.jsonl`, `_test_` and, of some corpora, `_valid_`.

    A line is an utterance by the name of its recording, which is its id or the name of its file here. Utterances of this
    corpus that EmoBox does not list are in no part.

    Args:
        table: Manifest with `id`, `corpus` and `path`.
        root: The folder `data` of EmoBox's repository, or a corpus's folder in it.

    Raises:
        BadFolds: There are no folds of this corpus, a file cannot be read, or none of its utterances is here.
    """
    corpora = {str(name).replace("-", "") for name in table["corpus"].dropna().unique()}
    homes = [home for home in (root, *(root / name for name in sorted(corpora))) if (home / "fold_1").is_dir()]
    if not homes:
        what = f"{root} has no folds of {listing(sorted(corpora))} (no folder fold_1)"
        raise BadFolds("emobox", what, "Give the folder data of EmoBox's repository, or the corpus's folder in it.")
    places = _places(table)
    drafts, listed, absent = list[Draft](), set[int](), 0
    for number, folder in enumerate(sorted(homes[-1].glob("fold_*"), key=lambda path: natural(path.name)), 1):
        masks: dict[str, Mask] = {}
        for part in ("train", "valid", "test"):
            mask = np.zeros(len(table), dtype=bool)
            names = _keys(folder, part)
            rows = [next((places[name] for name in own if name in places), None) for own in names]
            mask[[row for row in rows if row is not None]] = True
            absent += rows.count(None) if part == "test" else 0
            masks[part] = mask
        listed |= set(np.flatnonzero(masks["train"] | masks["valid"] | masks["test"]).tolist())
        dev = masks["valid"] if masks["valid"].any() else None
        drafts.append(
            Draft(name=str(number), test=masks["test"], pool=masks["train"] | masks["valid"], dev=dev, own="official")
        )
    if not listed:
        what = f"none of the utterances in {homes[-1]} is in this corpus"
        raise BadFolds("emobox", what, "Give the folder of the same corpus; names of recordings must be as published.")
    notes = [f"folds of EmoBox, {homes[-1]}"]
    notes += [f"{absent:,} tested utterances of EmoBox are not here"] if absent else []
    notes += (
        [f"{left:,} utterances that EmoBox does not list are in no part"] if (left := len(table) - len(listed)) else []
    )
    return drafts, notes


def _places(table: "pd.DataFrame") -> dict[str, int]:
    """Name -> row: the name of the recording where only one row has it, and before it the id."""
    stems: dict[str, list[int]] = {}
    for row, path in enumerate(table["path"]):
        if isinstance(path, str):
            stems.setdefault(Path(path).stem, []).append(row)
    unique = {stem: rows[0] for stem, rows in stems.items() if len(rows) == 1}
    return unique | {str(name): row for row, name in enumerate(table["id"])}


def _keys(folder: Path, part: str) -> list[tuple[str, ...]]:
    """The names that each line of a part's file may have here; empty where there is no validation file."""
    number = folder.name.removeprefix("fold_")
    path = next(iter(sorted(folder.glob(f"*_{part}_fold_{number}.jsonl"))), None)
    if path is None:
        if part == "valid":
            return []
        raise BadFolds(
            "emobox", f"{folder} has no file *_{part}_fold_{number}.jsonl", "Fetch EmoBox's repository whole."
        )
    names: list[tuple[str, ...]] = []
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row: dict[str, Any] = json.loads(text)
            stem, key = PurePosixPath(row["wav"]).stem, str(row["key"]).removeprefix(f"{row['dataset']}-")
        except (ValueError, KeyError, TypeError) as error:
            what = f"{path}, line {line}: {type(error).__name__}: {error}"
            raise BadFolds("emobox", what, "Fetch EmoBox's repository again.") from error
        # MELD's names occur in each part: dia0_utt0-train is train_dia0_utt0 here
        names.append((f"{key.rpartition('-')[2]}_{stem}", stem, key))
    return names


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
    title="EmoBox's: IEMOCAP sessions, six groups of RAVDESS actors, MELD's split; others from its files (--folds-root)",
    held_out=None,
    dev="random:0.2",
    draft=_emobox,
)
