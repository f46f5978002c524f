"""Units of work: shards of several layers' entries that hold the same utterances and so share one forward pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ser_cache import EntrySpec, Shard
from ser_cache.catalog import Cache
from ser_cache.writer import Writer
from ser_extract.encoders.base import Modality


@dataclass(frozen=True)
class Unit:
    """What a worker does in one go. Small: ids and hashes, never arrays.

    Attributes:
        modality: Of all its shards.
        shards: (layer, shard) of every entry that lacks these utterances.
        seconds: Audio seconds of its utterances (0 for text).
        cost: Rough seconds of one core.
    """

    modality: Modality
    shards: tuple[tuple[int, Shard], ...]
    seconds: float
    cost: float

    @property
    def ids(self) -> tuple[str, ...]:
        """Its utterances."""
        return tuple(item.id for item in self.shards[0][1].items)

    @property
    def key(self) -> tuple[Modality, tuple[str, ...]]:
        """Names the unit within a run."""
        return self.modality, self.ids

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(layer for layer, _ in self.shards)


def gather(modality: Modality, pending: Mapping[int, Sequence[Shard]], seconds: Mapping[str, float]) -> list[Unit]:
    """Groups pending shards by their utterances.

    Args:
        modality: Of the entries.
        pending: Layer -> its pending shards.
        seconds: Utterance -> audio seconds.

    Returns:
        Units, most costly first, so that the last ones to run are short and the workers end together.
    """
    groups: dict[tuple[tuple[str, str], ...], list[tuple[int, Shard]]] = {}
    for layer, shards in sorted(pending.items()):
        for shard in shards:
            groups.setdefault(tuple((item.id, item.input_hash) for item in shard.items), []).append((layer, shard))
    units = [
        Unit(
            modality,
            tuple(shards),
            sum(seconds.get(name, 0.0) for name, _ in items),
            sum(item.cost for item in shards[0][1].items),
        )
        for items, shards in groups.items()
    ]
    return sorted(units, key=lambda unit: (-unit.cost, unit.ids))


def part(units: Sequence[Unit], shards: tuple[int, int] | None) -> list[Unit]:
    """The i-th of N parts of the work, by shard number: the same in every process, whatever is done already."""
    if shards is None:
        return list(units)
    index, count = shards
    return [unit for unit in units if unit.shards[0][1].number % count == index - 1]


def open_writers(
    cache: Cache, specs: Sequence[EntrySpec], container: str, *, replace: bool = False, recipe: str | None = None
) -> dict[int, Writer]:
    """Layer -> writer of its entry."""
    return {spec.layer: cache.writer(spec, container=container, replace=replace, recipe=recipe) for spec in specs}
