"""The table of classifiers: every file in it, every recipe fits and predicts, and their rows share the heads' table."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_base.errors import UnknownName
from ser_fusion.classifiers import CLASSIFIERS, base
from ser_fusion.classifiers.base import choose_and_fit, posteriors
from ser_fusion.errors import ClassifierUnusable
from ser_fusion.runs.classifier_rows import classifier_table, fit_classifiers, resolve_classifier
from ser_fusion.study.open import open_study
from ser_fusion.testing import blobs, check_classifier


def test_every_recipe_is_in_the_table():
    recipes = [value for value in vars(base).values() if isinstance(value, base.Recipe)]
    assert recipes == list(CLASSIFIERS.values())
    assert [recipe.name for recipe in recipes] == list(CLASSIFIERS)


@pytest.mark.parametrize("name", list(CLASSIFIERS))
def test_a_recipe_keeps_the_contract(name: str):
    check_classifier(CLASSIFIERS[name])
    features, targets, parts = blobs()
    settings = choose_and_fit(CLASSIFIERS[name], features, targets, parts, 3, seed=0)[2]
    assert any(dict(settings) == dict(one) or "n_neighbors" in settings for one in CLASSIFIERS[name].grid)


def test_settings_come_from_development_data_only():
    """With the test part's labels scrambled the choice is the same; with the development part's it may differ."""
    features, targets, parts = blobs()
    scrambled = targets.copy()
    scrambled[parts["test"]] = np.random.default_rng(1).permutation(scrambled[parts["test"]])
    for name in ("svm", "logreg", "knn"):
        own = choose_and_fit(CLASSIFIERS[name], features, targets, parts, 3, seed=0)
        other = choose_and_fit(CLASSIFIERS[name], features, scrambled, parts, 3, seed=0)
        assert own[2] == other[2] and np.array_equal(own[1], other[1])


def test_a_class_missing_in_training_gets_nothing():
    features, targets, parts = blobs()
    parts["train"] = parts["train"][targets[parts["train"]] != 2]
    _, test, _ = choose_and_fit(CLASSIFIERS["svm"], features, targets, parts, 3, seed=0)
    assert (test[:, 2] == 0).all() and np.allclose(test.sum(axis=1), 1.0)


def test_any_estimator_by_its_path():
    features, targets, parts = blobs()
    for path in (
        "sklearn.naive_bayes:GaussianNB",
        "sklearn.linear_model:RidgeClassifier",
        "sklearn.neighbors:NearestCentroid",
    ):
        recipe = resolve_classifier(path)
        _, test, _ = choose_and_fit(recipe, features, targets, parts, 3, seed=0)
        assert (test.argmax(axis=1) == targets[parts["test"]]).mean() > 0.7
    assert resolve_classifier("sklearn.ensemble:RandomForestClassifier").random
    assert not resolve_classifier("sklearn.naive_bayes:GaussianNB").random


@pytest.mark.parametrize(
    "path", ["no_such_module:X", "sklearn.svm:Nothing", "json:dumps", "sklearn.model_selection:GridSearchCV"]
)
def test_a_path_to_no_classifier_is_refused(path: str):
    with pytest.raises(ClassifierUnusable, match="pkg.mod|scikit-learn") as caught:
        resolve_classifier(path)
    assert path in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_unknown_name_says_what_is_known():
    with pytest.raises(UnknownName, match="Did you mean 'logreg'"):
        resolve_classifier("logregg")


def test_posteriors_of_a_binary_margin():
    from sklearn.svm import LinearSVC

    draw = np.random.default_rng(0)
    x = draw.normal(size=(40, 3))
    y = (x[:, 0] > 0).astype(int)
    given = posteriors(LinearSVC().fit(x, y), x, 2)
    assert given.shape == (40, 2) and (given.argmax(axis=1) == y).mean() > 0.9


def test_rows_share_the_folds_and_are_not_fitted_twice(small_cache: Path, tmp_path: Path):
    study = open_study(small_cache)
    infos, tests, devs = fit_classifiers(study, ["logreg", "mlp"], tmp_path, seeds=(0, 1))
    assert [info["slug"] for info in infos] == [
        "logreg-audio", "logreg-text", "logreg-audio+text", "mlp-audio", "mlp-text", "mlp-audio+text",
    ]  # fmt: skip
    frame = pd.concat(tests)
    own = frame[(frame["row"] == "logreg-audio+text")]
    assert sorted(own["id"]) == sorted(study.table.index)  # every utterance tested once
    assert set(frame[frame["row"] == "mlp-audio"]["seed"]) == {0, 1}
    assert (own["label"] == own["predicted"]).mean() > 0.9
    tested = {fold.name: set(fold.test) for fold in study.folds.folds}
    assert all(set(part["id"]) == tested[str(name)] for name, part in own.groupby("fold"))
    dev = pd.concat(devs)
    developed = {fold.name: set(fold.dev) for fold in study.folds.folds}
    assert all(set(part["id"]) == developed[str(n)] for n, part in dev[dev["row"] == "logreg-audio"].groupby("fold"))
    done = tmp_path / "jobs/logreg-audio/fold0-seed0/done.json"
    before = done.stat().st_mtime_ns, json.loads(done.read_text())
    told: list[str] = []
    again = fit_classifiers(study, ["logreg", "mlp"], tmp_path, seeds=(0, 1), progress=told.append)
    assert not told and (done.stat().st_mtime_ns, json.loads(done.read_text())) == before
    assert pd.concat(again[1]).equals(frame)


def test_normalisation_per_speaker_is_marked_and_does_something(small_cache: Path, tmp_path: Path):
    study = open_study(small_cache)
    infos, tests, _ = fit_classifiers(study, ["lda"], tmp_path / "a", norm="speaker")
    plain = fit_classifiers(study, ["lda"], tmp_path / "b")
    assert all(info["transductive"] for info in infos) and not any(info["transductive"] for info in plain[0])
    assert not np.allclose(tests[0].filter(like="p_"), plain[1][0].filter(like="p_"))


def test_rows_for_one_stream_and_poolings():
    rows = classifier_table(["svm"], ["audio"], ["stats", "mean", "attention"])
    assert [row.slug for row in rows] == ["svm-audio", "svm-audio-mean"]
    assert classifier_table(["sklearn.naive_bayes:GaussianNB"], ["audio"], ())[0].slug == "gaussiannb-audio"


def test_ser_fuse_with_classifiers_only(small_cache: Path, tmp_path: Path):
    from click.testing import CliRunner

    from ser_fusion.cli.fuse import command

    out = tmp_path / "run"
    arguments = [
        "--cache",
        str(small_cache),
        "--classifier",
        "logreg,sklearn.naive_bayes:GaussianNB",
        "--out",
        str(out),
    ]
    done = CliRunner().invoke(command, [*arguments, "--workers", "0"])
    assert done.exit_code == 0, done.output
    run = json.loads((out / "run.json").read_text())
    kinds = [row["kind"] for row in run["rows"]]
    assert kinds.count("classifier") == 6 and "head" not in kinds
    assert "logreg, audio+text" in (out / "report.html").read_text()
    wrong = CliRunner().invoke(
        command, ["--cache", str(small_cache), "--classifier", "svn", "--out", str(tmp_path / "x")]
    )
    assert wrong.exit_code != 0 and "Did you mean 'svm'" in wrong.output
    foreign = CliRunner().invoke(
        command, ["--cache", str(small_cache), "--classifier", "no.where:X", "--out", str(tmp_path / "y")]
    )
    assert foreign.exit_code == 1 and "no.where:X cannot be used" in foreign.output


def test_the_baseline_of_the_field_has_its_known_name():
    svm, others = classifier_table(["svm"], ["audio", "prosody"], ())[1], {"prosody": "acoustic", "audio": "x"}
    assert svm.name({"prosody": "egemaps"}) == "eGeMAPS + SVM" and svm.slug == "svm-prosody"
    assert svm.name(others) == "svm, prosody"
