"""How much of the test text was read in training: measured and reported, never a refusal.

38 % of IEMOCAP's scripted turns (7 classes) have the same words in another session, so scores are split into seen and
unseen text. Two texts are the same if letters and digits agree (`comparison_key`).
"""

from dataclasses import replace

import pandas as pd

from ser_data.errors import BadFolds
from ser_data.protocols.folds import TEXT, Fold, Folds, key_values

Keys = dict[str, str | None]


def text_keys(table: pd.DataFrame) -> Keys:
    """Comparison key by id; `None` where there is no text or no letter in it."""
    return dict(zip(table["id"].to_numpy(dtype=object), key_values(table, TEXT), strict=True))


def seen_text(table: pd.DataFrame, fold: Fold, keys: Keys | None = None) -> "pd.Series[bool]":
    """For each test id of the fold: whether its text occurs in the training part. No text is never seen.

    Args:
        table: Manifest with `id` and `text`.
        fold: The fold.
        keys: `text_keys(table)`, if it is at hand.
    """
    keys = text_keys(table) if keys is None else keys
    known = {keys[name] for name in fold.train} - {None}
    return pd.Series([keys[name] in known for name in fold.test], index=list(fold.test), dtype=bool)


def text_overlap(table: pd.DataFrame, folds: Folds) -> pd.DataFrame:
    """Per fold: columns `fold`, `test` (rows with text), `seen` (of these, in training as well), `share` (0 to 1)."""
    keys = text_keys(table)
    rows = []
    for fold in folds.folds:
        texts = sum(keys[name] is not None for name in fold.test)
        seen = int(seen_text(table, fold, keys).sum())
        rows.append((fold.name, texts, seen, seen / texts if texts else float("nan")))
    return pd.DataFrame(rows, columns=["fold", "test", "seen", "share"])


def drop_seen_text(table: pd.DataFrame, folds: Folds) -> Folds:
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
