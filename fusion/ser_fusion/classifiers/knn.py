"""Nearest neighbours, weighted by distance."""

from typing import Any

from ser_fusion.classifiers.base import Recipe


def build(seed: int, **settings: Any) -> Any:
    """Deterministic. Small training parts hold fewer neighbours than asked for; ``fit`` then takes all."""
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(weights="distance", **settings)


RECIPE = Recipe(
    "knn",
    "k nearest neighbours",
    build,
    ({"n_neighbors": 15}, {"n_neighbors": 5}, {"n_neighbors": 45}),
    note="Euclidean, weighted by distance",
)
