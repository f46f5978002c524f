"""The table of protocols: each a pure function from a manifest to folds. The menu loads nothing until it is asked."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ser_data.catalog import Catalog

if TYPE_CHECKING:
    from ser_data.protocols.base import Protocol
    from ser_data.protocols.folds import Fold, Folds
    from ser_data.protocols.make import make_folds
    from ser_data.protocols.overlap import drop_seen_text, seen_text, text_overlap


def _session() -> "Protocol":
    from ser_data.protocols.session import SESSION

    return SESSION


def _speaker() -> "Protocol":
    from ser_data.protocols.speaker import SPEAKER

    return SPEAKER


def _speaker_5() -> "Protocol":
    from ser_data.protocols.speaker import SPEAKER_5

    return SPEAKER_5


def _scenario() -> "Protocol":
    from ser_data.protocols.scenario import SCENARIO

    return SCENARIO


def _session_scenario() -> "Protocol":
    from ser_data.protocols.scenario import SESSION_SCENARIO

    return SESSION_SCENARIO


def _official() -> "Protocol":
    from ser_data.protocols.given import OFFICIAL

    return OFFICIAL


def _official_5() -> "Protocol":
    from ser_data.protocols.given import OFFICIAL_5

    return OFFICIAL_5


def _manifest() -> "Protocol":
    from ser_data.protocols.given import MANIFEST

    return MANIFEST


def _s3prl_er() -> "Protocol":
    from ser_data.protocols.published import S3PRL_ER

    return S3PRL_ER


def _emobox() -> "Protocol":
    from ser_data.protocols.published import EMOBOX

    return EMOBOX


def _corpus() -> "Protocol":
    from ser_data.protocols.corpora import CORPUS

    return CORPUS


def _source_target() -> "Protocol":
    from ser_data.protocols.corpora import SOURCE_TARGET

    return SOURCE_TARGET


def _source_target_within() -> "Protocol":
    from ser_data.protocols.corpora import SOURCE_TARGET_WITHIN

    return SOURCE_TARGET_WITHIN


def _random() -> "Protocol":
    from ser_data.protocols.random_folds import RANDOM

    return RANDOM


PROTOCOLS: "Catalog[Protocol]" = Catalog(
    "protocol",
    {
        "session": _session,
        "speaker": _speaker,
        "speaker-5": _speaker_5,
        "scenario": _scenario,
        "session+scenario": _session_scenario,
        "official": _official,
        "official-5": _official_5,
        "manifest": _manifest,
        "s3prl-er": _s3prl_er,
        "emobox": _emobox,
        "corpus": _corpus,
        "source-target": _source_target,
        "source-target+within": _source_target_within,
        "random": _random,
    },
)

_FACE = {
    "Fold": "folds",
    "Folds": "folds",
    "Protocol": "base",
    "make_folds": "make",
    "drop_seen_text": "overlap",
    "seen_text": "overlap",
    "text_overlap": "overlap",
}

__all__ = ["PROTOCOLS", "Fold", "Folds", "Protocol", "drop_seen_text", "make_folds", "seen_text", "text_overlap"]


def __getattr__(name: str) -> Any:
    if name in _FACE:
        return getattr(import_module(f"{__name__}.{_FACE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
