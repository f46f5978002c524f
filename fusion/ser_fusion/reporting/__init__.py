"""Shows what `evaluation` found: HTML, Markdown, LaTeX, CSV, plots, and tables in the terminal."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_fusion.reporting.report import write_report
    from ser_fusion.reporting.terminal import result_table

_HOME = {"result_table": "terminal", "write_report": "report"}

__all__ = ["result_table", "write_report"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
