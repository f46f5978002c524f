"""The table of scikit-learn classifiers on pooled features, and the way to any other: ``pkg.mod:Class``.

A new one is one ``Recipe`` and one row here; the contract test walks the table.
"""

from typing import TYPE_CHECKING

from ser_base.catalog import Catalog

if TYPE_CHECKING:
    from ser_fusion.classifiers.base import Recipe


CLASSIFIERS: "Catalog[Recipe]" = Catalog(
    "classifier",
    {
        "svm": "ser_fusion.classifiers.base:SVM",
        "logreg": "ser_fusion.classifiers.base:LOGREG",
        "knn": "ser_fusion.classifiers.base:KNN",
        "lda": "ser_fusion.classifiers.base:LDA",
        "hist-gb": "ser_fusion.classifiers.base:HIST_GB",
        "mlp": "ser_fusion.classifiers.base:MLP",
    },
    group="ser.classifiers",
)
