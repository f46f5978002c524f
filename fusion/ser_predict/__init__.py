"""Emotions of new recordings with the heads of a finished run: the one place where both stages meet.

It may import both stages; nobody imports it. ``Predictor`` is the Python face of the command ``ser-predict``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_predict.errors import PredictError
    from ser_predict.pieces import Prediction
    from ser_predict.predictor import Predictor

_FACE = {
    "PredictError": "errors",
    "Prediction": "pieces",
    "Predictor": "predictor",
}

__all__ = ["PredictError", "Prediction", "Predictor"]


def __getattr__(name: str) -> Any:
    if name in _FACE:
        return getattr(import_module(f"ser_predict.{_FACE[name]}"), name)
    raise AttributeError(f"module 'ser_predict' has no attribute {name!r}")
