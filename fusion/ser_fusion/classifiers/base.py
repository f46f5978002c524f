"""What a classifier is here: how to build it, and which few settings the development part may choose from."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import Any

from ser_fusion.classifiers import CLASSIFIERS
from ser_fusion.errors import ClassifierUnusable

PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A scikit-learn classifier on pooled features.

    Attributes:
        name: As given to ``--classifier``.
        title: As printed.
        build: Seed and settings to an unfitted estimator; features come standardised. None for the linear probe, which is
            `ser_fusion.evaluation.probes.fit_probe`.
        grid: Settings to choose from by development UWA; the first wins a tie.
        random: Whether the seed changes anything; if not, it is fitted once, under seed 0.
        note: What a reader of the table should know.
    """

    name: str
    title: str
    build: Callable[..., Any] | None
    grid: tuple[Mapping[str, Any], ...] = ({},)
    random: bool = False
    note: str = ""


def resolve_classifier(name: str) -> Recipe:
    """A recipe of the table, or one around any estimator ``pkg.mod:Class``.

    Raises:
        UnknownName: Not in the table and no path to a class.
        ClassifierUnusable: The class cannot be imported, or is no classifier.
    """
    return _foreign(name) if PATH.fullmatch(name) else CLASSIFIERS[name]


def _foreign(path: str) -> Recipe:
    module, _, attribute = path.partition(":")
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ClassifierUnusable(path, str(error)) from error
    if not (
        isinstance(kind, type) and callable(getattr(kind, "fit", None)) and callable(getattr(kind, "predict", None))
    ):
        raise ClassifierUnusable(path, "it is no class with fit and predict")
    try:
        names = set(signature(kind).parameters)
        kind()
    except (TypeError, ValueError) as error:
        raise ClassifierUnusable(path, f"it cannot be built without arguments ({error})") from error
    seeded = "random_state" in names

    def build(seed: int, **settings: Any) -> Any:
        return kind(random_state=seed, **settings) if seeded else kind(**settings)

    return Recipe(path, attribute, build, random=seeded, note=f"{path} as it comes")
