"""Where the encoder of a run may lie: a run records names and contents, never paths.

Each place is only a guess; whoever opens it compares its weights with the run's.
"""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ser_cache import CacheError, EntrySpec, open_cache


def places(stream: str, spec: EntrySpec, run: Mapping[str, Any], cache: Path | None) -> Iterator[str]:
    """Names and folders to try, in order.

    Args:
        stream: ``audio`` or ``text``.
        spec: What the run was trained with.
        run: ``run.json``.
        cache: Where the run's cache lies now; None: where it was.

    Yields:
        The recorded name (a hub id is found by it), the folder in the command that wrote the cache, ``demo``.
    """
    yield spec.encoder
    folder = cache or Path(str(run.get("cache", {}).get("path", "")))
    for recipe in _recipes(folder, spec):
        value = _option(recipe, f"--{stream}-encoder")
        if value is not None and Path(value).expanduser().is_dir():
            yield value
    yield "demo"


def _recipes(folder: Path, spec: EntrySpec) -> list[str]:
    """The commands that wrote an entry, latest first; empty if the cache is gone."""
    from ser_cache.format.ledger import Ledger

    try:
        entry = open_cache(folder).select(spec.modality, spec.encoder, spec.layer, spec.dtype)
        ledger = Ledger(entry.path, entry.fingerprint)
        ledger.refresh()
        plans = ledger.own_plans()
    except (CacheError, OSError):
        return []
    return [plan.recipe for plan in reversed(plans) if plan.recipe]


def _option(command: str, name: str) -> str | None:
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None
