"""Streams that an utterance may lack: it keeps its place and has no frames there."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ser_cache import Entry

OPTIONAL = ("video",)
"""Streams that an utterance may lack: it keeps its place, without frames there. One that lacks another is left out."""


def mask(
    layers: Mapping[str, tuple["Entry", ...]], ids: list[str]
) -> tuple[dict[str, tuple["Entry", ...]], dict[str, int], list[str]]:
    """Rows without frames for utterances that lack an optional stream; how many there are, and notes that say why."""
    done, masked, notes = dict(layers), {}, []
    for stream in OPTIONAL:
        if stream not in layers:
            continue
        lacking: dict[str, str] = {}
        for entry in layers[stream]:
            lacking |= {name: entry.failures[name].reason for name in ids if name not in entry}
        done[stream] = tuple(entry.with_empty(name for name in ids if name not in entry) for entry in layers[stream])
        for name, length in zip(ids, done[stream][-1].lengths(ids).tolist(), strict=True):
            if not length:
                lacking.setdefault(name, "none")
        masked[stream] = len(lacking)
        if lacking:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(Counter(lacking.values()).items()))
            notes.append(f"{len(lacking):,} of {len(ids):,} utterances take part without {stream} ({reasons})")
    return done, masked, notes
