"""Text that is tested and was trained on: measured, split off, and dropped from training only."""

import pandas as pd

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


def test_dropping_touches_training_only():
    folds = make_folds(TABLE, "session")
    kept = drop_seen_text(TABLE, folds)
    for before, after in zip(folds.folds, kept.folds, strict=True):
        assert (before.test, before.dev) == (after.test, after.dev)
        assert not seen_text(TABLE, after).any()
    assert kept.folds[0].train == ("c2", "c3") and "3 training utterances" in kept.notes[-1]
    assert kept.fingerprint != folds.fingerprint
