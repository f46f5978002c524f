"""Rows taken over by content: an utterance under a new id, whose input is in the entry already, gets a copy of that row.

A row is named by its utterance and made from its input. Where a corpus was moved or its ids were changed, the inputs and their
hashes are the same, and computing them again would give the same frames.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ser_cache.catalog import Cache
from ser_cache.entry import Entry
from ser_cache.errors import Damaged, StaleEntry
from ser_cache.items import Item, Row, Shard
from ser_cache.writer import Writer


def sources(entry: Entry, items: Sequence[Item]) -> dict[str, str]:
    """New id -> id of a row that was made from the same input.

    Rows without frames are no source, nor are failed and withdrawn utterances. An item that has a row of its input, or that
    failed with it, is not new.
    """
    by_input: dict[str, str] = {}
    for name, length in zip(entry.ids, entry.lengths().tolist(), strict=True):
        if length:
            by_input.setdefault(entry.input_hashes[name], name)
    return {
        item.id: by_input[item.input_hash]
        for item in items
        if item.input_hash in by_input
        and entry.input_hashes.get(item.id) != item.input_hash
        and entry.failure_hashes.get(item.id) != item.input_hash
    }


def take_over(cache: Cache, writer: Writer, items: Sequence[Item]) -> int:
    """Commits copies of rows for the planned items whose inputs are in the entry under other ids.

    Every row is compared with its checksum before it is copied; what is damaged is left to be computed. Call `Writer.plan`
    again afterwards: the writer then knows what is left.

    Returns:
        Number of rows that were copied.
    """
    entry = Entry(writer.path, writer.spec, cache.withdrawn(), verify_reads=True)
    found = sources(entry, items)
    if not found:
        return 0
    writer.plan([item for item in items if item.id in found])
    taken = 0
    for shard in writer.pending():
        rows = [row for item in shard.items if (row := _copy(entry, found[item.id], item.id)) is not None]
        if not rows:
            continue
        held = {row.id for row in rows}
        part = Shard(shard.generation, shard.number, tuple(item for item in shard.items if item.id in held))
        origins = [entry.environment(found[row.id]) for row in rows]
        if writer.commit(part, rows, environment=_environment(origins)) == "committed":
            taken += len(rows)
    return taken


def _copy(entry: Entry, source: str, name: str) -> Row | None:
    """The row of another id, checked; None where its bytes are not those written."""
    try:
        return Row(name, entry[source], entry.special(source))
    except (Damaged, StaleEntry):
        return None


def _environment(origins: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Where the rows were computed: the distinct environments of the commits they come from."""
    found: list[dict[str, Any]] = []
    for each in origins:
        if each not in found:
            found.append(dict(each))
    return {"taken_over": found}
