"""Linear discriminant analysis with Ledoit and Wolf's shrinkage; nothing to choose."""

from typing import Any

from ser_fusion.classifiers.base import Recipe


def build(seed: int, **settings: Any) -> Any:
    """Deterministic."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", **settings)


RECIPE = Recipe("lda", "LDA", build, note="Ledoit-Wolf shrinkage")
