"""Reference rows: chance in expectation, priors by hand, probes as scikit-learn makes them, and nothing learned from test."""

import numpy as np
import pandas as pd
import pytest
from fake_run import CLASSES, fake_study, utterance_table
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from ser_fusion.evaluation.metrics import score_fold
from ser_fusion.evaluation.references import (
    joined_keys,
    key_prior,
    metadata_keys,
    reference_rows,
    text_svm,
    wearer,
    word_counts,
)


def test_every_row_is_there_and_tests_every_utterance_once_per_seed():
    study = fake_study()
    rows = reference_rows(study, [0, 1, 2])
    slugs = [row.info["slug"] for row in rows]
    assert slugs == [
        "random", "prior", "majority", "scenario-prior", "dialogue-prior", "speaker-prior", "tfidf-svm",
        "probe-audio-mean", "probe-audio-stats", "probe-text-mean", "probe-text-stats", "probe-both-mean", "probe-both-stats",
        "probe-product",
    ]  # fmt: skip
    for frame, slug in ((row.test, row.info["slug"]) for row in rows):
        seeds = 3 if slug in ("random", "prior") else 1
        assert len(frame) == seeds * len(study.table) and not frame.duplicated(["id", "seed"]).any()
        assert list(frame.columns[:6]) == ["row", "id", "fold", "seed", "label", "predicted"]
        posteriors = frame[[f"p_{name}" for name in CLASSES]].to_numpy()
        assert np.allclose(posteriors.sum(axis=1), 1, atol=1e-5)
        assert (frame["label"].to_numpy() == study.table.loc[frame["id"], "label"].to_numpy()).all()
    found = dict(zip(slugs, (row.test for row in rows), strict=True))
    probe = score_fold(found["probe-audio-mean"]["label"], found["probe-audio-mean"]["predicted"], CLASSES)
    assert probe["WA"] > 0.5, "the probe does not find a signal that is there"
    assert {row.info["name"] for row in rows[-2:]} == {"Probe (both, mean+std)", "Probe (product)"}
    assert all((row.dev is not None) == row.info["slug"].startswith("probe") for row in rows)
    assert not found["probe-text-mean"].isna().any().any(), "features without variance must not become NaN"


@pytest.mark.parametrize("refit", [False, True])
def test_test_labels_do_not_reach_the_predictions(refit: bool):
    study, other = fake_study(), fake_study()
    fold = study.folds.folds[0]
    rng = np.random.default_rng(9)
    other.table.loc[list(fold.test), "target"] = rng.integers(0, 7, len(fold.test))
    study.folds.folds = other.folds.folds = [fold]  # in another fold these utterances may train
    for a, b in zip(*(reference_rows(one, [0], refit=refit) for one in (study, other)), strict=True):
        assert list(a.test["predicted"]) == list(b.test["predicted"]), a.info["slug"]
        columns = [f"p_{name}" for name in CLASSES]
        assert np.array_equal(a.test[columns], b.test[columns]), a.info["slug"]


def test_with_refit_rows_learn_from_the_development_part():
    study = fake_study()
    for plain, again in zip(*(reference_rows(study, [0], refit=flag) for flag in (False, True)), strict=True):
        slug = plain.info["slug"]
        if slug not in ("random", "majority", "probe-text-mean", "probe-text-stats"):
            columns = [f"p_{name}" for name in CLASSES]
            assert not np.array_equal(plain.test[columns], again.test[columns]), slug
        if slug.startswith("probe-") and slug != "probe-product":
            assert plain.dev.equals(again.dev), "development predictions are those of the first fit"


def test_random_row_has_its_expectation():
    study = fake_study(per_speaker=60)
    frame = next(row.test for row in reference_rows(study, range(30)) if row.info["slug"] == "random")
    scores = [score_fold(part["label"], part["predicted"], CLASSES)["WA"] for _, part in frame.groupby("seed")]
    assert np.mean(scores) == pytest.approx(1 / 7, abs=4 * np.std(scores) / np.sqrt(30))


def test_key_prior_by_hand():
    keys = pd.Series(["x", "x", "x", "y", None])
    targets = np.array([0, 0, 1, 1, 2])
    prior = np.array([2, 2, 1]) / 5
    got = key_prior(keys, targets, pd.Series(["x", "y", "new", None]), 3)
    assert got[0] == pytest.approx((np.array([2, 1, 0]) + prior) / 4)
    assert got[1] == pytest.approx((np.array([0, 1, 0]) + prior) / 2)
    assert got[2] == pytest.approx(prior) and got[3] == pytest.approx(prior)


def test_dialogue_name_gives_scenario_wearer_and_gender():
    table = pd.DataFrame(
        {
            "dialogue": ["Ses01F_impro01", "Ses04M_script02_1", "other"],
            "scenario": ["impro01", "script02_1", None],
            "gender": ["F", "F", "M"],
        }
    )
    assert list(wearer(table["dialogue"])) == ["F", "M", None]
    assert metadata_keys(table)["dialogue-prior"].tolist()[:2] == ["impro01|F|F", "script02_1|M|F"]
    assert pd.isna(joined_keys([table["scenario"], table["gender"]]).iloc[2])
    assert set(metadata_keys(table.drop(columns=["scenario"]))) == set()


def test_text_svm_equals_the_vectoriser_fitted_on_the_training_part():
    rng = np.random.default_rng(3)
    table = utterance_table(rng, 4, 40, CLASSES[:3])
    texts, y = list(table["text"]), pd.Index(list(CLASSES)).get_indexer(table["label"])
    texts[5] = None
    train, test = np.arange(100), np.arange(100, 160)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    plain = [text or "" for text in texts]
    model = LinearSVC(C=0.3, random_state=0).fit(words.fit_transform(plain[:100]), y[train])
    got = text_svm(word_counts(texts), train, test, y, 3)
    assert got is not None
    assert list(got.argmax(axis=1)) == list(model.predict(words.transform(plain[100:])))
    assert word_counts([None, "", "..."]) is None
