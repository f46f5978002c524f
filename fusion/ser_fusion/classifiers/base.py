"""What a classifier is here: how to build it, and which few settings the development part may choose from; and the table's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ser_base.catalog import resolve
from ser_fusion.evaluation.probes import PATH


@dataclass(frozen=True, slots=True)
class Recipe:
    """A scikit-learn classifier on pooled features.

    Attributes:
        name: As given to ``--classifier``.
        title: As printed.
        build: Seed and settings to an unfitted estimator; features come standardised. None for the linear probe, which is
            `ser_fusion.evaluation.probes.fit_probe`.
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
