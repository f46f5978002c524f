"""Folds: which utterances train, develop and test, as ids, with what the protocol promises about them.

How much of the test text was read in training is measured and reported, and never refused: 38 % of IEMOCAP's scripted turns
(7 classes) have the same words in another session, so scores are split into seen and unseen text. Two texts are the same if
their letters and digits agree (`ser_data.manifest.text.comparison_key`).
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash
from numpy.typing import NDArray

from ser_base.errors import listing
from ser_data.errors import BadFolds, BadManifest
from ser_data.manifest.columns import PARTS
from ser_data.manifest.csv_file import csv_frame
from ser_data.manifest.text import clean_name, comparison_key
from ser_data.protocols.base import SOURCE, originals

if TYPE_CHECKING:
    import pandas as pd


TEXT = "text"
SPARSE = frozenset({"audio_hash", TEXT})  # columns in which two missing values are not the same thing


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold.

    Attributes:
        name: What is tested (`3` for session 3, `2+g4` for session 2 with scenario group 4).
        train: Ids in sorted order; ids in none of the three parts are not used in this fold.
        dev: The same; may be empty (`--dev none`).
        test: The same.
    """

    name: str
    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Folds:
    """All folds of a protocol on one manifest.

    Attributes:
        protocol: The protocol's name.
        dev: How the development part was chosen (`next`, `partner`, `speaker`, `random:0.2`, `official`, `none`).
        held_out: Columns of which no value is on both sides of a fold.
        folds: The folds.
        notes: What a reader of the results must know; printed with them.
        seed: Of what was drawn at random.
        once: Whether no utterance may be tested in two folds.
    """

    protocol: str
    dev: str
    held_out: tuple[str, ...]
    folds: tuple[Fold, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)
    seed: int = 0
    once: bool = True

    def csv_text(self) -> str:
        """The folds as CSV text with the columns `id,fold,part`; ids in sorted order within a part."""
        import csv
        import io

        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(("id", "fold", "part"))
        for fold in self.folds:
            for part in PARTS:
                writer.writerows((name, fold.name, part) for name in getattr(fold, part))
        return buffer.getvalue()

    @property
    def fingerprint(self) -> str:
        """xxh3-128 of the folds' CSV, 32 hex digits: equal exactly if all ids are in the same parts of the same folds."""
        return xxhash.xxh3_128_hexdigest(self.csv_text().encode("utf-8", "surrogatepass"))

    def to_csv(self, path: str | Path) -> None:
        """Writes `id,fold,part`, so that others can use exactly these splits."""
        Path(path).write_text(self.csv_text(), encoding="utf-8", newline="")

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        protocol: str = "",
        dev: str = "as given",
        held_out: Iterable[str] = (),
        once: bool = True,
        verbatim: Container[str] = (),
    ) -> "Folds":
        """Reads `id,fold,part`. The file does not hold the promises: give them, and call `check`.

        Names are cleaned (`ser_data.manifest.text`), but for the ids that are `verbatim`: those of an older cache.

        Raises:
            BadFolds: No such file, other columns, a quote that is not closed, an unknown part, or an id twice in a fold.
        """
        path = Path(path)
        name = protocol or f"csv:{path.name}"
        try:
            table = csv_frame(path)
        except BadManifest as error:
            raise BadFolds(name, f"{path}: {error.problem}", error.remedy) from error
        except OSError as error:
            what = f"{path} cannot be read ({error.strerror or error})"
            raise BadFolds(name, what, "Give a CSV with the columns id,fold,part.") from error
        if not {"id", "fold", "part"} <= set(table.columns):
            raise BadFolds(name, f"{path} has the columns {listing(table.columns)}", "It needs id, fold and part.")
        table["id"] = [name if name in verbatim else clean_name(name) for name in table["id"]]
        for column in ("fold", "part"):
            table[column] = [clean_name(value) for value in table[column]]
        strange = table.index[~table["part"].isin(PARTS)]
        if len(strange):
            what = f"{path}, line {strange[0] + 2}: unknown part '{table['part'][strange[0]]}'"
            raise BadFolds(name, what, f"Known are {listing(PARTS)}.")
        twice = table.index[table.duplicated(["id", "fold"])]
        if len(twice):
            raise BadFolds(
                name,
                f"{path}, line {twice[0] + 2}: {table['id'][twice[0]]} occurs twice in a fold",
                "Keep one of the two lines.",
            )
        folds = []
        for label, group in table.groupby("fold", sort=False):
            parts = {part: tuple(sorted(group["id"][group["part"] == part])) for part in PARTS}
            folds.append(Fold(str(label), **parts))
        return cls(name, dev, tuple(held_out), tuple(folds), once=once)

    def check(self, table: "pd.DataFrame") -> None:
        """Refuses folds that break what they promise.

        Args:
            table: Manifest with all ids of the folds and all held-out columns.

        Raises:
            BadFolds: An id in two parts of a fold or tested twice, an id that the table does not have, or a value of a
                held-out column on both sides.
        """
        # plain sets and dicts: pandas' label lookups are 20 times slower here, and a protocol has up to 25 folds
        tested: dict[str, str] = {}
        present = set(table["id"])
        for fold in self.folds:
            for part, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
                both = set(getattr(fold, part)) & set(getattr(fold, other))
                if both:
                    what = f"fold {fold.name}: {len(both):,} ids are in {part} and {other}: {listing(sorted(both), 3)}"
                    raise BadFolds(self.protocol, what, "Correct the folds.")
            for name in fold.test:
                if name in tested and self.once:
                    what = f"{name} is tested in fold {tested[name]} and in fold {fold.name}"
                    remedy = "Test every utterance once, or use --protocol source-target if this is intended."
                    raise BadFolds(self.protocol, what, remedy)
                tested[name] = fold.name
            strange = sorted({*fold.train, *fold.dev, *fold.test} - present)
            if strange:
                what = f"fold {fold.name}: {len(strange):,} ids are not in the manifest: {listing(strange, 3)}"
                raise BadFolds(self.protocol, what, "Use the manifest that the folds were made from.")
        columns = {key: values_by_id(table, key) for key in self.held_out}
        for fold in self.folds:
            for key, values in columns.items():
                shared = shared_values(values, fold)
                if shared:
                    what = f"fold {fold.name}: {key} {listing(shared, 5)} on both sides, though '{key}' is held out"
                    remedy = (
                        f"Correct the folds, give another protocol, or --allow-overlap {key} (the report will say so)."
                    )
                    raise BadFolds(self.protocol, what, remedy)


def key_values(table: "pd.DataFrame", column: str) -> "NDArray[np.object_]":
    """The value by which a column keeps rows apart, as text, (rows,); None where it is missing.

    The column `source` stands for the original that a row is a version of (`ser_data.protocols.base`), the column
    `text` for its words (`ser_data.manifest.text.comparison_key`).
    """
    if column == SOURCE:
        return originals(table)
    values = table[column].to_numpy(dtype=object)
    missing = table[column].isna().to_numpy()
    if column == TEXT:
        return np.array(
            [None if gap else comparison_key(v) or None for v, gap in zip(values, missing, strict=True)], object
        )
    return np.array([None if gap else str(v) for v, gap in zip(values, missing, strict=True)], dtype=object)


def values_by_id(table: "pd.DataFrame", column: str) -> dict[str, str]:
    """Id -> the column's value (`key_values`); a missing one is `(missing)`, which counts as a value, except of audio and text."""
    ids = table["id"].to_numpy(dtype=object)
    empty = [f"(none: {name})" for name in ids] if column in SPARSE else ["(missing)"] * len(ids)
    values = (none if v is None else v for v, none in zip(key_values(table, column), empty, strict=True))
    return dict(zip(ids, values, strict=True))


def shared_values(values: Mapping[str, str], fold: Fold) -> list[str]:
    """Values (by id) that occur both in the test part and in train or dev, sorted."""
    rest = {values[name] for part in (fold.train, fold.dev) for name in part}
    return sorted(rest & {values[name] for name in fold.test})


def text_keys(table: "pd.DataFrame") -> dict[str, str | None]:
    """Comparison key by id; `None` without text, or without a letter in it."""
    return dict(zip(table["id"].to_numpy(dtype=object), key_values(table, TEXT), strict=True))


def seen_text(table: "pd.DataFrame", fold: Fold, keys: dict[str, str | None] | None = None) -> "pd.Series[bool]":
    """For each test id of the fold: whether its text occurs in the training part. No text is never seen.

    Args:
        table: Manifest with `id` and `text`.
        fold: The fold.
        keys: `text_keys(table)`, if it was computed before.
    """
    import pandas as pd

    keys = text_keys(table) if keys is None else keys
    trained = {keys[name] for name in fold.train} - {None}
    return pd.Series([keys[name] in trained for name in fold.test], index=list(fold.test), dtype=bool)


def text_overlap(table: "pd.DataFrame", folds: Folds) -> "pd.DataFrame":
    """Per fold: columns `fold`, `test` (rows with text), `seen` (of these, in training as well), `share` (0 to 1)."""
    import pandas as pd

    keys = text_keys(table)
    rows = []
    for fold in folds.folds:
        texts = sum(keys[name] is not None for name in fold.test)
        seen = int(seen_text(table, fold, keys).sum())
        rows.append((fold.name, texts, seen, seen / texts if texts else float("nan")))
    return pd.DataFrame(rows, columns=["fold", "test", "seen", "share"])


def drop_seen_text(table: "pd.DataFrame", folds: Folds) -> Folds:
    """The same folds without the training and development utterances whose text is tested.

    Test parts stay as they are. `text` is then among the held-out keys, so that nothing that joins a training later brings
    a tested text back.

    Raises:
        BadFolds: Every training text of a fold is tested.
    """
    keys = text_keys(table)
    kept = []
    dropped = 0
    for fold in folds.folds:
        tested = {keys[name] for name in fold.test} - {None}
        train, dev = (tuple(name for name in part if keys[name] not in tested) for part in (fold.train, fold.dev))
        if not train:
            remedy = "Leave --drop-seen-text out, or give a protocol that keeps the texts apart, such as scenario."
            raise BadFolds(folds.protocol, f"every training text of fold {fold.name} is tested", remedy)
        dropped += len(fold.train) + len(fold.dev) - len(train) - len(dev)
        kept.append(replace(fold, train=train, dev=dev))
    note = (
        f"--drop-seen-text: {dropped:,} training and development utterances left out over {len(kept)} folds, because their "
        "text is tested"
    )
    held_out = tuple(dict.fromkeys((*folds.held_out, TEXT)))
    return replace(folds, folds=tuple(kept), held_out=held_out, notes=(*folds.notes, note))
