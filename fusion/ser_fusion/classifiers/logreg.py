"""Multinomial logistic regression: the linear probe under another name, equal to the reference rows' (`evaluation.probes`)."""

from ser_fusion.classifiers.base import Recipe
from ser_fusion.evaluation.probes import PATH

RECIPE = Recipe(
    "logreg", "Logistic regression", None, tuple({"C": value} for value in PATH), note="L2 penalty: the linear probe"
)
