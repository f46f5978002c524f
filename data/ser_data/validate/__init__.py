"""Does a copy of a corpus hold what was published, and nothing that would spoil results?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_data.validate.findings import Finding
    from ser_data.validate.run import Report, validate

_FACE = {"Finding": "findings", "Report": "run", "validate": "run"}

__all__ = ["Finding", "Report", "validate"]


def __getattr__(name: str) -> Any:
    if name in _FACE:
        return getattr(import_module(f"ser_data.validate.{_FACE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
