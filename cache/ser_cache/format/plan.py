"""Plans: which utterance goes to which shard. Immutable, numbered from 1, created like a commit.

The plans in their order are the log of what was wanted: the last plan that mentions an utterance says which input hash
its row must have. A plan holds shards (new work) and *resolves* (utterances whose wanted row is already planned
elsewhere, as after a transcript was corrected and the correction taken back).
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_cache.errors import Damaged
from ser_cache.format.log import Log
from ser_cache.format.records import PlanRecord, checked
from ser_cache.format.seal import read_sealed, seal
from ser_cache.format.spec import EntrySpec
from ser_cache.items import Item

SHARD_BYTES = 64_000_000
SHARD_SECONDS = 120.0
SHARD_ITEMS = 10_000


@dataclass(frozen=True)
class Plan:
    """One generation.

    Attributes:
        generation: its number, from 1.
        fingerprint: of the spec it was made for; a plan of a replaced spec has another.
        spec: plain form of the spec, so that a lost ``entry.json`` can be made again.
        recipe: command that made it, or None.
        shards: items of each shard, sorted by id.
        resolves: id -> input hash of utterances whose wanted row is planned in an earlier generation.
    """

    generation: int
    fingerprint: str
    spec: Mapping[str, Any]
    recipe: str | None
    shards: tuple[tuple[Item, ...], ...]
    resolves: Mapping[str, str]

    def mentions(self) -> Iterator[tuple[str, str]]:
        """(id, input hash) of everything this plan says."""
        for shard in self.shards:
            for item in shard:
                yield item.id, item.input_hash
        yield from self.resolves.items()


def cut(items: Iterable[Item], spec: EntrySpec) -> tuple[tuple[Item, ...], ...]:
    """Shards of these items: sorted by id, each ends at 64 MB of estimated rows or 120 s of estimated work.

    A pure function of the items and the spec, whatever their order.
    """
    width = spec.features * spec.itemsize
    shards: list[tuple[Item, ...]] = []
    current: list[Item] = []
    size, seconds = 0, 0.0
    for item in sorted(items, key=lambda each: each.id):
        item_bytes = (item.frames or 0) * width
        full = size + item_bytes > SHARD_BYTES or seconds + item.cost > SHARD_SECONDS or len(current) >= SHARD_ITEMS
        if current and full:
            shards.append(tuple(current))
            current, size, seconds = [], 0, 0.0
        current.append(item)
        size += item_bytes
        seconds += item.cost
    if current:
        shards.append(tuple(current))
    return tuple(shards)


def plan_log(entry: Path) -> Log:
    """The plans of an entry, as the log that they are."""
    return Log(entry, "plans", read_plan)


def sealed_plan(plan: Plan) -> bytes:
    """The record as it is written."""
    record = {
        "kind": "plan",
        "token": uuid.uuid4().hex,
        "generation": plan.generation,
        "fingerprint": plan.fingerprint,
        "spec": dict(plan.spec),
        "recipe": plan.recipe,
        "shards": [
            {
                "ids": [item.id for item in shard],
                "input_hashes": [item.input_hash for item in shard],
                "cost": [round(item.cost, 4) for item in shard],
                "frames": [item.frames for item in shard],
            }
            for shard in plan.shards
        ],
        "resolves": dict(plan.resolves),
    }
    return seal(record)


def read_plan(path: Path, generation: int) -> Plan:
    """Reads one plan; raises Damaged where it is not what its name says."""
    record = checked(PlanRecord, read_sealed(path), str(path))
    if record.generation != generation:
        raise Damaged(str(path), f"it is the record of plan {record.generation}")
    try:
        shards = tuple(
            tuple(Item(*fields) for fields in zip(each.ids, each.input_hashes, each.cost, each.frames, strict=True))
            for each in record.shards
        )
    except ValueError as error:
        raise Damaged(str(path), "the lists of a shard have different lengths") from error
    return Plan(generation, record.fingerprint, record.spec.model_dump(), record.recipe, shards, record.resolves)
