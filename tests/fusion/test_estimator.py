"""``FusionClassifier`` in scikit-learn's tools, each by name: clone, Pipeline, GridSearchCV, cross_val_predict."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import recall_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import Pipeline

from ser_fusion import FusionClassifier, open_study
from ser_fusion.errors import MissingRows
from ser_fusion.study.open import Study


@pytest.fixture
def study(small_cache: Path) -> Study:
    return open_study(small_cache)


def _quick(study: Study, **options: object) -> FusionClassifier:
    return FusionClassifier(study, **{"fusion": "audio", "epochs": 4, "lr": 3e-3, **options})  # type: ignore[arg-type]


def test_fit_and_predict(study: Study):
    X, y = np.array(study.table.index), study.to_sklearn().y
    model = _quick(study, fusion="cross", validation=0.2).fit(X[:90], y[:90])
    given = model.predict_proba(X[90:])
    assert given.shape == (30, 3) and np.allclose(given.sum(axis=1), 1.0, atol=1e-5)
    assert list(model.classes_) == sorted(set(y))
    assert np.array_equal(model.predict(X[90:]), model.classes_[given.argmax(axis=1)])
    assert model.score(X[90:], y[90:]) > 0.8
    held = set(study.table.loc[model.validation_ids_, "speaker"])
    trained = set(study.table.loc[sorted(set(X[:90]) - set(model.validation_ids_)), "speaker"])
    assert held and not held & trained  # whole speakers are held back
    assert np.allclose(model.predict_proba([X[95], X[91], X[95]]), given[[5, 1, 5]], atol=1e-6)  # order, repeats


def test_a_fixed_length_holds_nobody_back(study: Study):
    X, y = np.array(study.table.index), study.to_sklearn().y
    assert not len(_quick(study, epochs=1).fit(X, y).validation_ids_)


def test_same_seed_same_model(study: Study):
    X, y = np.array(study.table.index), study.to_sklearn().y
    one, two = (_quick(study).fit(X, y).predict_proba(X[:9]) for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, _quick(study, seed=1).fit(X, y).predict_proba(X[:9]))


def test_clone_and_parameters(study: Study):
    model = _quick(study, pool_dropout=0.1)
    copy = clone(model)
    assert copy is not model and copy.study is study and copy.get_params() == model.get_params()
    copy.set_params(fusion="text", epochs=2)
    assert copy.fusion == "text" and model.fusion == "audio"


def test_pipeline(study: Study):
    X, y = np.array(study.table.index), study.to_sklearn().y
    pipe = Pipeline([("ids", "passthrough"), ("head", _quick(study))])
    assert pipe.fit(X, y).predict(X[:5]).shape == (5,)
    pipe.set_params(head__epochs=1)
    assert pipe.named_steps["head"].epochs == 1


def test_grid_search(study: Study):
    X, y, _, splits = np.array(study.table.index), *study.to_sklearn()[1:]
    grid = GridSearchCV(_quick(study, epochs=3), {"fusion": ["audio", "text"], "lr": [1e-6, 3e-3]}, cv=splits[:2])
    grid.fit(X, y)
    assert grid.best_params_["lr"] == 3e-3 and grid.best_score_ > 0.5
    assert len(grid.cv_results_["params"]) == 4


def test_cross_val_predict(study: Study):
    X, y, _, splits = np.array(study.table.index), *study.to_sklearn(train_on_dev=True)[1:]
    given = cross_val_predict(_quick(study, epochs=6), X, y, cv=splits, method="predict_proba")
    guess = np.array(sorted(set(y)))[given.argmax(axis=1)]
    assert given.shape == (120, 3) and recall_score(y, guess, average="macro") > 0.8


def test_labels_of_ones_own(study: Study):
    X = np.array(study.table.index)
    y = np.where(study.table["label"] == "class0", 1, 0)
    model = _quick(study, epochs=6).fit(X, y)
    assert model.predict_proba(X[:4]).shape == (4, 2) and (model.predict(X) == y).mean() > 0.8


def test_without_validation_all_epochs_are_trained(study: Study):
    X, y = np.array(study.table.index), study.to_sklearn().y
    model = _quick(study, validation=0, epochs=3).fit(X, y)
    assert len(model.curve_) == 3 and len(model.validation_ids_) == 0


def test_a_fitted_model_travels(study: Study):
    X, y = np.array(study.table.index), study.to_sklearn().y
    model = _quick(study).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.allclose(again.predict_proba(X[:6]), model.predict_proba(X[:6]), atol=1e-6)


def test_wrong_use_is_told(study: Study):
    X, y = np.array(study.table.index), study.to_sklearn().y
    with pytest.raises(NotFittedError):
        _quick(study).predict(X)
    with pytest.raises(ValueError, match="one-dimensional"):
        _quick(study).fit(X.reshape(-1, 1), y)
    with pytest.raises(ValueError, match="one label per id"):
        _quick(study).fit(X, y[:5])
    with pytest.raises(MissingRows, match="nobody"):
        _quick(study).fit(np.array(["nobody", *X[:3]]), y[:4])
