"""Text that is tested and was trained on: measured, split off, and dropped from what may train."""

from dataclasses import replace

import pandas as pd
import pytest

from ser_data.errors import BadFolds
from ser_data.protocols import drop_seen_text, make_folds, seen_text, text_overlap

TABLE = pd.DataFrame(
    {
        "id": ["a1", "a2", "b1", "b2", "c1", "c2", "c3"],
        "session": list("1122333"),
        "speaker": list("1122333"),
        "text": ["Hello there.", "own a", "hello  there!", "own b", "HELLO THERE", "[LAUGHTER]", None],
    }
)


def test_seen_is_by_words_only_and_nothing_is_never_seen():
    fold = make_folds(TABLE, "session", dev="none").folds[2]
    assert seen_text(TABLE, fold).to_dict() == {"c1": True, "c2": False, "c3": False}


def test_overlap_per_fold():
    table = text_overlap(TABLE, make_folds(TABLE, "session", dev="none"))
    assert table["test"].tolist() == [2, 2, 1]
    assert table["seen"].tolist() == [1, 1, 1]
    assert table["share"].tolist() == [0.5, 0.5, 1.0]


def test_dropping_touches_what_may_train_and_never_the_test_part():
    folds = make_folds(TABLE, "session")
    kept = drop_seen_text(TABLE, folds)
    for before, after in zip(folds.folds, kept.folds, strict=True):
        assert before.test == after.test and len(after.dev) < len(before.dev)  # a refit trains on the development part
        assert not seen_text(TABLE, after).any()
        assert not seen_text(TABLE, replace(after, train=after.dev)).any()
    assert kept.folds[0].train == ("c2", "c3") and "6 training and development utterances" in kept.notes[-1]
    assert kept.fingerprint != folds.fingerprint
    assert kept.held_out == ("session", "speaker", "text")
    kept.check(TABLE)
    with pytest.raises(BadFolds, match="text hello there on both sides"):
        replace(folds, held_out=kept.held_out).check(TABLE)


def test_nothing_left_to_train_on_is_said():
    table = TABLE.assign(text="the same")
    with pytest.raises(BadFolds, match="every training text of fold 1 is tested"):
        drop_seen_text(table, make_folds(table, "session"))
