"""From the name of a classifier to posteriors over all classes, whatever it offers; and its choice by development data."""

import re
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.classifiers import CLASSIFIERS
from ser_fusion.classifiers.base import Recipe
from ser_fusion.errors import ClassifierUnusable
from ser_fusion.evaluation.metrics import score_fold
from ser_fusion.evaluation.probes import fit_probe, standardise

_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
Features = NDArray[np.float32]
Targets = NDArray[np.int64]


def resolve_classifier(name: str) -> Recipe:
    """A recipe of the table, or one around any estimator ``pkg.mod:Class``.

    Raises:
        UnknownName: Not in the table and no path to a class.
        ClassifierUnusable: The class cannot be imported, or is no classifier.
    """
    return _foreign(name) if _CLASS.fullmatch(name) else CLASSIFIERS[name]


def _foreign(path: str) -> Recipe:
    module, _, attribute = path.partition(":")
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ClassifierUnusable(path, str(error)) from error
    if not (
        isinstance(kind, type) and callable(getattr(kind, "fit", None)) and callable(getattr(kind, "predict", None))
    ):
        raise ClassifierUnusable(path, "it is no class with fit and predict")
    try:
        names = set(signature(kind).parameters)
        kind()
    except (TypeError, ValueError) as error:
        raise ClassifierUnusable(path, f"it cannot be built without arguments ({error})") from error
    seeded = "random_state" in names

    def build(seed: int, **settings: Any) -> Any:
        return kind(random_state=seed, **settings) if seeded else kind(**settings)

    return Recipe(path, attribute, build, random=seeded, note=f"{path} as it comes")


def posteriors(model: Any, features: Features, classes: int) -> NDArray[np.float64]:
    """Posteriors (n, classes) of a fitted estimator.

    Probabilities if it has them; else a softmax of its margins (right for ranking, not calibrated); else 1 for its guess.
    A class that was not in training gets 0.
    """
    out = np.zeros((len(features), classes))
    if not len(features):
        return out
    known = np.asarray(model.classes_, dtype=np.int64)
    if hasattr(model, "predict_proba"):
        out[:, known] = model.predict_proba(features)
    elif hasattr(model, "decision_function"):
        margins = np.asarray(model.decision_function(features), dtype=np.float64)
        if margins.ndim == 1:
            margins = np.stack([-margins, margins], axis=1)
        odds = np.exp(margins - margins.max(axis=1, keepdims=True))
        out[:, known] = odds / odds.sum(axis=1, keepdims=True)
    else:
        out[np.arange(len(features)), np.asarray(model.predict(features), dtype=np.int64)] = 1.0
    return out


def choose_and_fit(
    recipe: Recipe,
    features: Features,
    targets: Targets,
    parts: Mapping[str, Targets],
    classes: int,
    seed: int,
    refit: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Any]]:
    """Fits a recipe on the training part, its settings chosen on the development part.

    Args:
        recipe: What to build.
        features: Pooled features of all utterances, (n, d).
        targets: Class number of each, (n,).
        parts: ``train``, ``dev``, ``test``: positions.
        classes: Number of classes.
        seed: For recipes that draw.
        refit: Fit what is tested on training and development part together, with the settings that were chosen before.

    Returns:
        Development posteriors, test posteriors, and the settings that were taken (the first of the grid without a
        development part). Development posteriors are always those of a fit on the training part alone.
    """
    train, dev, test = parts["train"], parts["dev"], parts["test"]
    if recipe.build is None:
        probe = fit_probe(features, targets, train, dev, classes, refit)
        return probe.dev, probe.posteriors(features[test]), {"C": probe.penalty}
    x_train, x_rest = standardise(features[train], features[np.concatenate([dev, test])])
    names = [str(number) for number in range(classes)]
    best: tuple[float, NDArray[np.float64], NDArray[np.float64], dict[str, Any]] | None = None
    for settings in recipe.grid if len(dev) else recipe.grid[:1]:
        usable = dict(settings)
        if "n_neighbors" in usable:
            usable["n_neighbors"] = min(usable["n_neighbors"], len(train))
        model = recipe.build(seed, **usable).fit(x_train, targets[train])
        given = posteriors(model, x_rest[: len(dev)], classes)
        score = score_fold(targets[dev], given.argmax(axis=1), names)["UWA"] if len(dev) else 0.0
        if best is None or score > best[0]:
            best = (score, given, posteriors(model, x_rest[len(dev) :], classes), usable)
    if best is None:
        raise ValueError(f"the recipe {recipe.name} has an empty grid")
    if refit and len(dev):
        both = np.sort(np.concatenate([train, dev]))
        x_both, x_test = standardise(features[both], features[test])
        model = recipe.build(seed, **best[3]).fit(x_both, targets[both])
        return best[1], posteriors(model, x_test, classes), best[3]
    return best[1], best[2], best[3]
