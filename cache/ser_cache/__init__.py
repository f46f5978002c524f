"""The feature cache: rows of frames under an utterance's id, safely on disk, read at the speed of memory.

Reading:  ``open_cache("cache").select(modality="audio", layer=12)[utterance_id]``
Writing:  ``create_cache("cache").writer(spec)``, then ``plan``, ``pending`` and ``commit`` (see `Writer`)

The format is written down in docs/cache-format.md; the package imports neither torch nor the rest of SER Fusion.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_cache.arena import Arena, ArenaHandle
    from ser_cache.catalog import Cache, EntryInfo, create_cache, open_cache
    from ser_cache.containers import CONTAINERS
    from ser_cache.entry import Entry
    from ser_cache.errors import (
        AmbiguousEntry,
        CacheError,
        CannotCommit,
        CannotWrite,
        Damaged,
        MissingAttachment,
        MissingEntry,
        MissingRow,
        NotACache,
        SpecMismatch,
        StaleEntry,
        UnknownContainer,
        Unsafe,
        UnsupportedFormat,
        WrongRows,
    )
    from ser_cache.items import Failure, Item, Outcome, PlanSummary, Row, Shard
    from ser_cache.ragged import Ragged
    from ser_cache.spec import EntrySpec
    from ser_cache.takeover import sources, take_over
    from ser_cache.writer import Writer

_HOME = {
    "Arena": "arena",
    "ArenaHandle": "arena",
    "Cache": "catalog",
    "EntryInfo": "catalog",
    "create_cache": "catalog",
    "open_cache": "catalog",
    "CONTAINERS": "containers",
    "Entry": "entry",
    "AmbiguousEntry": "errors",
    "CacheError": "errors",
    "CannotCommit": "errors",
    "CannotWrite": "errors",
    "Damaged": "errors",
    "MissingAttachment": "errors",
    "MissingEntry": "errors",
    "MissingRow": "errors",
    "NotACache": "errors",
    "SpecMismatch": "errors",
    "StaleEntry": "errors",
    "UnknownContainer": "errors",
    "Unsafe": "errors",
    "UnsupportedFormat": "errors",
    "WrongRows": "errors",
    "Failure": "items",
    "Item": "items",
    "Outcome": "items",
    "PlanSummary": "items",
    "Row": "items",
    "Shard": "items",
    "Ragged": "ragged",
    "EntrySpec": "spec",
    "sources": "takeover",
    "take_over": "takeover",
    "Writer": "writer",
}

__all__ = [
    "CONTAINERS",
    "AmbiguousEntry",
    "Arena",
    "ArenaHandle",
    "Cache",
    "CacheError",
    "CannotCommit",
    "CannotWrite",
    "Damaged",
    "Entry",
    "EntryInfo",
    "EntrySpec",
    "Failure",
    "Item",
    "MissingAttachment",
    "MissingEntry",
    "MissingRow",
    "NotACache",
    "Outcome",
    "PlanSummary",
    "Ragged",
    "Row",
    "Shard",
    "SpecMismatch",
    "StaleEntry",
    "UnknownContainer",
    "Unsafe",
    "UnsupportedFormat",
    "Writer",
    "WrongRows",
    "create_cache",
    "open_cache",
    "sources",
    "take_over",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
