"""What a classifier is here: how to build it, and which few settings the development part may choose from; and the table's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_base.catalog import resolve
from ser_fusion.evaluation.metrics import score_fold
from ser_fusion.evaluation.probes import PATH, fit_probe, standardise


@dataclass(frozen=True, slots=True)
class Recipe:
    """A scikit-learn classifier on pooled features.

    Attributes:
        name: As given to ``--classifier``.
        title: As printed.
        build: Seed and settings to an unfitted estimator; features come standardised. None for the linear probe, which is
            ``ser_fusion.evaluation.probes.fit_probe``.
        grid: Settings to choose from by development UWA; the first wins a tie.
        random: Whether the seed changes anything; if not, it is fitted once, under seed 0.
        note: What a reader of the table should know.
    """

    name: str
    title: str
    build: Callable[..., Any] | None
    grid: tuple[Mapping[str, Any], ...] = ({},)
    random: bool = False
    note: str = ""


def _sklearn(path: str, seeded: bool = False, **fixed: Any) -> Callable[..., Any]:
    """A builder for the class at ``package.module:Class``, which is imported when it is built."""

    def build(seed: int, **settings: Any) -> Any:
        return resolve(path)(**({"random_state": seed} if seeded else {}), **fixed, **settings)

    return build


SVM = Recipe(
    "svm",
    "SVM",
    _sklearn("sklearn.svm:SVC", kernel="rbf", gamma="scale", break_ties=True),  # scores: one-against-rest margins
    ({"C": 1.0}, {"C": 0.3}, {"C": 3.0}, {"C": 10.0}),
    note="radial kernel",
)
# the linear probe under another name, equal to the reference rows'
LOGREG = Recipe(
    "logreg", "Logistic regression", None, tuple({"C": value} for value in PATH), note="L2 penalty: the linear probe"
)
KNN = Recipe(
    "knn",
    "k nearest neighbours",
    _sklearn("sklearn.neighbors:KNeighborsClassifier", weights="distance"),
    ({"n_neighbors": 15}, {"n_neighbors": 5}, {"n_neighbors": 45}),  # at most as many as there are training rows
    note="Euclidean, weighted by distance",
)
LDA = Recipe(
    "lda",
    "LDA",
    _sklearn("sklearn.discriminant_analysis:LinearDiscriminantAnalysis", solver="lsqr", shrinkage="auto"),
    note="Ledoit-Wolf shrinkage",
)
HIST_GB = Recipe(
    "hist-gb",
    "Boosted trees",
    # no early stopping; a fifth of the features per split keeps hundreds of them affordable
    _sklearn("sklearn.ensemble:HistGradientBoostingClassifier", seeded=True, early_stopping=False, max_features=0.2),
    ({"max_iter": 50}, {"max_iter": 100}),
    random=True,
    note="histogram gradient boosting, a fifth of the features per split",
)
MLP = Recipe(
    "mlp",
    "MLP",
    _sklearn(
        "sklearn.neural_network:MLPClassifier",
        seeded=True,
        hidden_layer_sizes=(128,),
        max_iter=40,
        tol=0.0,
        n_iter_no_change=100,
    ),
    ({"alpha": 1.0}, {"alpha": 0.01}),
    random=True,
    note="128 hidden units, 40 epochs of Adam",
)


Features = NDArray[np.float32]
Targets = NDArray[np.int64]


def posteriors(model: Any, features: Features, classes: int) -> NDArray[np.float64]:
    """Posteriors (n, classes) of a fitted estimator.

    Probabilities if it has them; else a softmax of its margins (right for ranking, not calibrated); else 1 for its guess.
    A class that was not in training gets 0.
    """
    out = np.zeros((len(features), classes))
    if not len(features):
        return out
    trained = np.asarray(model.classes_, dtype=np.int64)
    if hasattr(model, "predict_proba"):
        out[:, trained] = model.predict_proba(features)
    elif hasattr(model, "decision_function"):
        margins = np.asarray(model.decision_function(features), dtype=np.float64)
        if margins.ndim == 1:
            margins = np.stack([-margins, margins], axis=1)
        odds = np.exp(margins - margins.max(axis=1, keepdims=True))
        out[:, trained] = odds / odds.sum(axis=1, keepdims=True)
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
        dev_posteriors = posteriors(model, x_rest[: len(dev)], classes)
        score = score_fold(targets[dev], dev_posteriors.argmax(axis=1), names)["UWA"] if len(dev) else 0.0
        if best is None or score > best[0]:
            best = (score, dev_posteriors, posteriors(model, x_rest[len(dev) :], classes), usable)
    if best is None:
        raise ValueError(f"the recipe {recipe.name} has an empty grid")
    if refit and len(dev):
        both = np.sort(np.concatenate([train, dev]))
        x_both, x_test = standardise(features[both], features[test])
        model = recipe.build(seed, **best[3]).fit(x_both, targets[both])
        return best[1], posteriors(model, x_test, classes), best[3]
    return best[1], best[2], best[3]
