"""Synthetic corpora in the shape of real ones, for tests and benchmarks. Nothing of the real ones is in them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_data.generate.write import generate_iemocap_shaped

__all__ = ["generate_iemocap_shaped"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("ser_data.generate.write"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
