"""Stage two: fusion heads on cached features, trained fold by fold and judged."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_fusion.errors import FusionError
    from ser_fusion.estimator import FusionClassifier
    from ser_fusion.job import FuseJob
    from ser_fusion.model import load_model
    from ser_fusion.run import run
    from ser_fusion.study import Study, open_study

_FACE = {
    "FusionClassifier": "estimator",
    "FuseJob": "job",
    "FusionError": "errors",
    "Study": "study",
    "load_model": "model",
    "open_study": "study",
    "run": "run",
}

__all__ = ["FuseJob", "FusionClassifier", "FusionError", "Study", "load_model", "open_study", "run"]


def __getattr__(name: str) -> Any:
    if name in _FACE:
        return getattr(import_module(f"{__name__}.{_FACE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
