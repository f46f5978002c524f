"""Boosted trees on histograms."""

from typing import Any

from ser_fusion.classifiers.base import Recipe


def build(seed: int, **settings: Any) -> Any:
    """Deterministic: no early stopping, no subsampling. A fifth of the features per split keeps hundreds of them affordable."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(early_stopping=False, max_features=0.2, random_state=seed, **settings)


RECIPE = Recipe(
    "hist-gb",
    "Boosted trees",
    build,
    ({"max_iter": 50}, {"max_iter": 100}),
    random=True,
    note="histogram gradient boosting, a fifth of the features per split",
)
