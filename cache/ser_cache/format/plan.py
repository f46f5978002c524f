"""Plans: which utterance goes to which shard. Immutable, numbered from 1, created like a commit.

The plans in their order are the log of what was wanted: the last plan that mentions an utterance says which input hash
its row must have. A plan holds shards (new work) and *resolves* (utterances whose wanted row is already planned
elsewhere, as after a transcript was corrected and the correction taken back).
"""

import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_cache.errors import Damaged
from ser_cache.format.log import Log
from ser_cache.format.seal import PlanRecord, checked, read_sealed, seal
from ser_cache.format.spec import EntrySpec
from ser_cache.items import Item

SHARD_BYTES = 64_000_000
SHARD_SECONDS = 120.0
"""What a shard may cost where the writer is told nothing else."""
SHARD_ITEMS = 10_000
ROUNDING = 1e-9

Target = Callable[[float], float]
"""Total cost of what is planned now -> the most that a shard of it may cost, in the same unit."""


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
        shard_seconds: the most that a shard of it was to cost; None in plans of versions that did not say.
    """

    generation: int
    fingerprint: str
    spec: Mapping[str, Any]
    recipe: str | None
    shards: tuple[tuple[Item, ...], ...]
    resolves: Mapping[str, str]
    shard_seconds: float | None = None

    def mentions(self) -> Iterator[tuple[str, str]]:
        """(id, input hash) of everything this plan says."""
        for shard in self.shards:
            for item in shard:
                yield item.id, item.input_hash
        yield from self.resolves.items()


def cut(items: Iterable[Item], spec: EntrySpec, seconds: float | None = None) -> tuple[tuple[Item, ...], ...]:
    """Shards of these items, sorted by id and evenly filled, none above one of the three limits.

    The limits are 64 MB of estimated rows, `seconds` of estimated work, and 10,000 utterances. An utterance that is above a
    limit alone is a shard of its own. A pure function of the items, the spec and `seconds`, whatever the items' order.

    Args:
        items: what is to be computed.
        spec: gives the bytes of a frame.
        seconds: the most that a shard may cost, in the unit of `Item.cost`; None: `SHARD_SECONDS`.
    """
    width = spec.features * spec.itemsize
    limit = SHARD_SECONDS if seconds is None else seconds

    def share(item: Item) -> float:
        """How much of a shard it fills; at most 1 in a shard of several, so that each limit holds."""
        return max((item.frames or 0) * width / SHARD_BYTES, item.cost / limit, 1 / SHARD_ITEMS)

    ordered = sorted(items, key=lambda each: each.id)
    shares = [share(item) for item in ordered]
    left = math.fsum(shares)
    shards: list[tuple[Item, ...]] = []
    current: list[Item] = []
    held, even = 0.0, 0.0
    for item, own in zip(ordered, shares, strict=True):
        if current and (held + own > 1 + ROUNDING or held + own / 2 > even):
            shards.append(tuple(current))
            current, left, held = [], left - held, 0.0
        if not current:
            even = left / max(math.ceil(left - ROUNDING), 1)
        current.append(item)
        held += own
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
        "shard_seconds": plan.shard_seconds,
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
    return Plan(
        generation,
        record.fingerprint,
        record.spec.model_dump(),
        record.recipe,
        shards,
        record.resolves,
        record.shard_seconds,
    )
