"""What a result is worth: metrics, reference rows, paired tests over speakers, leak audit.

Everything here works from predictions on disk; nothing here trains a head.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_fusion.evaluation.audit import audit_study
    from ser_fusion.evaluation.comparison import compare_rows
    from ser_fusion.evaluation.metrics import score_fold, summarise
    from ser_fusion.evaluation.references import reference_rows
    from ser_fusion.evaluation.run_metrics import evaluate_run

_HOME = {
    "audit_study": "audit",
    "compare_rows": "comparison",
    "evaluate_run": "run_metrics",
    "reference_rows": "references",
    "score_fold": "metrics",
    "summarise": "metrics",
}

__all__ = ["audit_study", "compare_rows", "evaluate_run", "reference_rows", "score_fold", "summarise"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
