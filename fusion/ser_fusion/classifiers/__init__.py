"""The table of scikit-learn classifiers on pooled features, and the way to any other: ``pkg.mod:Class``.

A new one is one file with a ``RECIPE`` and one row here; the contract test walks the table.
"""

from typing import TYPE_CHECKING

from ser_data.catalog import Catalog

if TYPE_CHECKING:
    from ser_fusion.classifiers.base import Recipe


def _svm() -> "Recipe":
    from ser_fusion.classifiers.svm import RECIPE

    return RECIPE


def _logreg() -> "Recipe":
    from ser_fusion.classifiers.logreg import RECIPE

    return RECIPE


def _knn() -> "Recipe":
    from ser_fusion.classifiers.knn import RECIPE

    return RECIPE


def _lda() -> "Recipe":
    from ser_fusion.classifiers.lda import RECIPE

    return RECIPE


def _hist_gb() -> "Recipe":
    from ser_fusion.classifiers.hist_gb import RECIPE

    return RECIPE


def _mlp() -> "Recipe":
    from ser_fusion.classifiers.mlp import RECIPE

    return RECIPE


CLASSIFIERS: "Catalog[Recipe]" = Catalog(
    "classifier",
    {"svm": _svm, "logreg": _logreg, "knn": _knn, "lda": _lda, "hist-gb": _hist_gb, "mlp": _mlp},
)
