"""Support vector machine with a radial kernel."""

from typing import Any

from ser_fusion.classifiers.base import Recipe


def build(seed: int, **settings: Any) -> Any:
    """Deterministic; its scores are one-against-rest margins."""
    from sklearn.svm import SVC

    return SVC(kernel="rbf", gamma="scale", break_ties=True, **settings)


RECIPE = Recipe("svm", "SVM", build, ({"C": 1.0}, {"C": 0.3}, {"C": 3.0}, {"C": 10.0}), note="radial kernel")
