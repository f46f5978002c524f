"""Synthetic speech for demonstration and tests: espeak-ng in a child process, never in ours (it is GPL-3)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_data.speech.synthesis import Line, SpeechError, synthesise

__all__ = ["Line", "SpeechError", "synthesise"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ser_data.speech import synthesis

    return getattr(synthesis, name)
