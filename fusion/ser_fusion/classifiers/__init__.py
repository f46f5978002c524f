"""The table of scikit-learn classifiers on pooled features, and the way to any other: ``pkg.mod:Class``.

A new one is one file with a ``RECIPE`` and one row here; the contract test walks the table.
"""

from typing import TYPE_CHECKING

from ser_base.catalog import Catalog

if TYPE_CHECKING:
    from ser_fusion.classifiers.base import Recipe


CLASSIFIERS: "Catalog[Recipe]" = Catalog(
    "classifier",
    {
        "svm": "ser_fusion.classifiers.svm:RECIPE",
        "logreg": "ser_fusion.classifiers.logreg:RECIPE",
        "knn": "ser_fusion.classifiers.knn:RECIPE",
        "lda": "ser_fusion.classifiers.lda:RECIPE",
        "hist-gb": "ser_fusion.classifiers.hist_gb:RECIPE",
        "mlp": "ser_fusion.classifiers.mlp:RECIPE",
    },
    group="ser.classifiers",
)
