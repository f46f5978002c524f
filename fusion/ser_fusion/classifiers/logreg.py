"""Multinomial logistic regression."""

from typing import Any

from ser_fusion.classifiers.base import Recipe


def build(seed: int, **settings: Any) -> Any:
    """Deterministic."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=500, tol=1e-3, **settings)


RECIPE = Recipe("logreg", "Logistic regression", build, ({"C": 0.05}, {"C": 0.005}, {"C": 0.5}), note="L2 penalty")
