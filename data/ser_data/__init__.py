"""What was said, by whom, with which label: corpora, label schemes and protocols that do not leak."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_data.corpora import CORPORA
    from ser_data.errors import CorpusError
    from ser_data.labels import SCHEMES, LabelScheme, resolve_scheme
    from ser_data.manifest import CorpusInfo, Manifest, Problem
    from ser_data.protocols import PROTOCOLS, Fold, Folds, make_folds
    from ser_data.utterance import Utterance

_FACE = {
    "CORPORA": "corpora",
    "CorpusError": "errors",
    "CorpusInfo": "manifest",
    "Fold": "protocols",
    "Folds": "protocols",
    "LabelScheme": "labels",
    "Manifest": "manifest",
    "PROTOCOLS": "protocols",
    "Problem": "manifest",
    "SCHEMES": "labels",
    "Utterance": "utterance",
    "make_folds": "protocols",
    "resolve_scheme": "labels",
}

__all__ = [
    "CORPORA",
    "PROTOCOLS",
    "SCHEMES",
    "CorpusError",
    "CorpusInfo",
    "Fold",
    "Folds",
    "LabelScheme",
    "Manifest",
    "Problem",
    "Utterance",
    "make_folds",
    "resolve_scheme",
]


def __getattr__(name: str) -> Any:
    if name in _FACE:
        return getattr(import_module(f"ser_data.{_FACE[name]}"), name)
    raise AttributeError(f"module 'ser_data' has no attribute {name!r}")
