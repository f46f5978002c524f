"""One hidden layer."""

from typing import Any

from ser_fusion.classifiers.base import Recipe


def build(seed: int, **settings: Any) -> Any:
    """Depends on the seed."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((128,), max_iter=40, tol=0.0, n_iter_no_change=100, random_state=seed, **settings)


RECIPE = Recipe(
    "mlp", "MLP", build, ({"alpha": 1.0}, {"alpha": 0.01}), random=True, note="128 hidden units, 40 epochs of Adam"
)
