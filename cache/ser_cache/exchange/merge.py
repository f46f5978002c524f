"""Several caches into one: what the parts of a corpus were extracted to, on machines that share no disk.

Rows are read with their checksums compared, written by the ordinary writer, and keep their input hashes and their
environments. Killed and run again, a merge goes on where it stopped.

A row is named by its utterance and made from its input. Where a corpus was moved or its ids were changed, `take_over` copies
the rows to the new ids within a cache: the inputs and their hashes are the same, and so would be the frames.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ser_cache.catalog import Cache, create_cache, open_cache
from ser_cache.entry import Entry
from ser_cache.errors import CacheError, Damaged, SpecMismatch, StaleEntry, WrongRows
from ser_cache.format.layout import check
from ser_cache.format.spec import EntrySpec, differences
from ser_cache.items import Failure, Item, Row, Shard
from ser_cache.writer import Writer

Progress = Callable[[int, int], None]


class MergeConflict(CacheError, ValueError):
    """Two caches that cannot become one.

    Attributes:
        what: the entry or the attachment.
        conflicts: (utterance or name, cache, hash there, other cache, hash there).
    """

    what: str
    conflicts: tuple[tuple[str, str, str, str, str], ...]
    got = "nothing was merged: {what} differ between the caches (input hashes)."
    known = "{compared}"
    next = "{remedy}"

    @property
    def compared(self) -> str:
        lines = [
            f"  {name}: {ours} in {here}, {theirs} in {there}" for name, here, ours, there, theirs in self.conflicts[:3]
        ]
        return "\n".join([*lines, *([f"  and {len(self.conflicts) - 3:,} more"] if len(self.conflicts) > 3 else [])])

    @property
    def remedy(self) -> str:
        if self.what == "attachments":
            return "Give --attachments CACHE to take those of one cache. Then run ser-extract with the whole corpus."
        return (
            "These are different recordings or texts under one id. Give the utterances other ids, or remove them from "
            "one of the caches with ser cache rm --ids."
        )


@dataclass(frozen=True)
class Merged:
    """What a merge did, per entry address.

    Attributes:
        rows: rows written now.
        kept: rows that were there already.
        failures: utterances that have no row in any source, with their recorded reason.
        withdrawn: utterances that some source had withdrawn; they stay withdrawn.
        attachments: names taken over.
    """

    rows: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    withdrawn: int = 0
    attachments: tuple[str, ...] = ()


def merge(
    sources: Sequence[Path],
    into: Path,
    *,
    container: str = "zarr",
    attachments_of: Path | None = None,
    recipe: str | None = None,
    progress: Progress | None = None,
) -> Merged:
    """Writes every row of ``sources`` into the cache ``into``, which may hold rows already. Sources are only read.

    Args:
        sources: caches; where two hold the same row, the first one's is taken.
        into: made if it is not there.
        container: of the new shards.
        attachments_of: whose attachments to take where they differ.
        recipe: command kept with the rows.
        progress: called with (rows done, rows in all).

    Raises:
        MergeConflict: one id with two input hashes, or attachments that differ. Nothing was written.
        SpecMismatch: one address with two fingerprints. Nothing was written.
    """
    caches = [open_cache(path) for path in sources]
    if any(path.resolve() == into.resolve() for path in sources):
        raise WrongRows(f"--into {into}", "it is one of the caches to be merged. Give a new directory")
    everything = [*caches, open_cache(into)] if (into / "format.json").exists() else caches
    specs = _specs(everything)
    withdrawn = frozenset().union(*(cache.withdrawn() for cache in everything))
    parts = {address: _open(caches, address) for address in specs}
    _check_hashes([each for address in specs for each in _open(everything, address)])
    attached = _attachments(everything, attachments_of)
    if into.is_dir():
        check(into)
    target = create_cache(into)
    if new := sorted(withdrawn - target.withdrawn()):
        target.withdraw(new)
    merged = Merged(withdrawn=len(withdrawn), attachments=tuple(sorted(attached)))
    total = sum(len(entry) for entries in parts.values() for _, entry in entries)
    done = 0
    for address, spec in specs.items():
        for count in _merge_entry(target, spec, parts[address], container, recipe, merged):
            done += count
            if progress is not None:
                progress(done, total)
    for name, data in attached.items():
        target.attach(name, data)
    return merged


def _open(caches: Sequence[Cache], address: str) -> list[tuple[str, Entry]]:
    return [
        (str(cache.path), cache.open(info)) for cache in caches for info in cache.entries() if info.address == address
    ]


def _specs(caches: Sequence[Cache]) -> dict[str, EntrySpec]:
    """Address -> spec; raises SpecMismatch if two caches mean different things by one address."""
    specs: dict[str, EntrySpec] = {}
    for cache in caches:
        for info in cache.entries():
            first = specs.setdefault(info.address, info.spec)
            if first.fingerprint != info.fingerprint:
                error = SpecMismatch(info.address, differences(first.as_dict(), info.spec.as_dict()))
                error.add_note(f"'cache' is what the first of the merged caches declares, 'asked for' is {cache.path}")
                raise error
    return specs


def _check_hashes(entries: Sequence[tuple[str, Entry]]) -> None:
    """Layers of one encoder are made from the same inputs, so their hashes are compared with each other as well.

    Not those of imported entries: theirs are of the values.
    """
    seen: dict[tuple[object, ...], tuple[str, str]] = {}
    conflicts: dict[str, tuple[str, str, str, str, str]] = {}
    for where, entry in entries:
        spec = entry.spec
        group = (spec.modality, spec.encoder, entry.address if spec.declared.get("imported") else None)
        for name, value in entry.input_hashes.items():
            there, other = seen.setdefault((*group, name), (where, value))
            if other != value:
                conflicts.setdefault(name, (name, there, other, where, value))
    if conflicts:
        raise MergeConflict("utterances", tuple(conflicts.values()))


def _attachments(caches: Sequence[Cache], chosen: Path | None) -> dict[str, bytes]:
    taken: dict[str, tuple[str, bytes]] = {}
    conflicts = []
    order = caches if chosen is None else [open_cache(chosen), *caches]
    for cache in order:
        for name in cache.attachments():
            data = cache.attachment(name)
            where, first = taken.setdefault(name, (str(cache.path), data))
            if first != data and chosen is None:
                conflicts.append((name, where, f"{len(first):,} bytes", str(cache.path), f"{len(data):,} other bytes"))
    if conflicts:
        raise MergeConflict("attachments", tuple(conflicts))
    return {name: data for name, (_, data) in taken.items()}


def _merge_entry(
    target: Cache,
    spec: EntrySpec,
    entries: Sequence[tuple[str, Entry]],
    container: str,
    recipe: str | None,
    merged: Merged,
) -> Iterator[int]:
    """Yields the number of rows dealt with, shard by shard."""
    home: dict[str, Entry] = {}
    for _, entry in entries:
        for name in entry.ids:
            home.setdefault(name, entry)
    failures = {
        name: (failure, entry.failure_hashes[name])
        for _, entry in entries
        for name, failure in entry.failures.items()
        if name not in home
    }
    items = [Item(name, entry.input_hashes[name], 0.0, entry.frames(name)) for name, entry in home.items()]
    items += [Item(name, value, 0.0, 0) for name, (_, value) in failures.items()]
    writer = target.writer(spec, container=container, recipe=recipe)
    summary = writer.plan(items)
    merged.kept[spec.address], merged.rows[spec.address] = summary.kept, 0
    merged.failures[spec.address] = len(failures)
    yield summary.kept
    for shard in writer.pending():
        rows = [_row(home[item.id], item.id, item.id) for item in shard.items if item.id in home]
        bad: dict[str, Failure] = {item.id: failures[item.id][0] for item in shard.items if item.id not in home}
        origins = [home[row.id].environment(row.id) for row in rows]
        if writer.commit(shard, rows, bad, {"merged": distinct(origins)}) == "committed":
            merged.rows[spec.address] += len(rows)
        yield len(rows)


def _row(entry: Entry, source: str, name: str) -> Row:
    """The row of one id, checked, as the row of another."""
    return Row(name, entry[source], entry.special(source))


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
    origin = sources(entry, items)
    if not origin:
        return 0
    writer.plan([item for item in items if item.id in origin])
    taken = 0
    for shard in writer.pending():
        rows = [row for item in shard.items if (row := _copy(entry, origin[item.id], item.id)) is not None]
        if not rows:
            continue
        held = {row.id for row in rows}
        part = Shard(shard.generation, shard.number, tuple(item for item in shard.items if item.id in held))
        origins = [entry.environment(origin[row.id]) for row in rows]
        if writer.commit(part, rows, environment={"taken_over": distinct(origins)}) == "committed":
            taken += len(rows)
    return taken


def _copy(entry: Entry, source: str, name: str) -> Row | None:
    """The row of another id, checked; None where its bytes are not those written."""
    try:
        return _row(entry, source, name)
    except (Damaged, StaleEntry):
        return None


def distinct(environments: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where rows were computed: the environments of the commits they come from, each once."""
    different: list[dict[str, Any]] = []
    for each in environments:
        if each not in different:
            different.append(dict(each))
    return different
