"""Plans: which utterance goes to which shard. Immutable, numbered from 1, created like a commit.

The plans in their order are the log of what was wanted: the last plan that mentions an utterance says which input hash
its row must have. A plan holds shards (new work) and *resolves* (utterances whose wanted row is already planned
elsewhere, as after a transcript was corrected and the correction taken back).
"""

import math
import uuid
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, starmap
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from ser_cache.errors import Damaged
from ser_cache.format.log import Log
from ser_cache.format.seal import Count, Hash, Parallel, Record, Seconds, SpecRecord, read_record, seal
from ser_cache.format.spec import EntrySpec
from ser_cache.items import Item

SHARD_BYTES = 64_000_000
SHARD_SECONDS = 120.0
"""What a shard may cost where the writer says nothing else."""
SHARD_ITEMS = 10_000
ROUNDING = 1e-9

Target = Callable[[float], float]
"""Total cost of what is planned now -> the most that a shard of it may cost, in the same unit."""


class PlannedShard(Record):
    """The utterances of one shard, sorted by id: parallel lists with the fields of `Item`."""

    ids: Parallel[str]
    input_hashes: Parallel[str]
    cost: Parallel[Seconds]
    frames: Parallel[Count | None]

    @classmethod
    def of(cls, items: Iterable[Item]) -> Self:
        """Of these items, in their order; costs are rounded to 0.1 ms."""
        items = list(items)
        return cls(
            ids=[item.id for item in items],
            input_hashes=[item.input_hash for item in items],
            cost=[round(float(item.cost), 4) for item in items],
            frames=[item.frames for item in items],
        )

    def items(self) -> Iterator[Item]:
        """As items; millions of them cost seconds."""
        return starmap(Item, zip(self.ids, self.input_hashes, self.cost, self.frames, strict=True))


class Plan(Record):
    """One generation; in the order of the members on disk.

    Attributes:
        token: random, so that no two plans are equal; made when the plan is sealed.
        generation: its number, from 1.
        fingerprint: of the spec it was made for; a plan of a replaced spec has another.
        spec: the spec, so that a lost ``entry.json`` can be made again.
        recipe: command that made it, or None.
        shard_seconds: the most that a shard of it was to cost; None in plans of versions that did not say.
        shards: what is computed.
        resolves: id -> input hash of utterances whose wanted row is planned in an earlier generation.
    """

    kind: Literal["plan"] = "plan"
    token: str = ""
    generation: Count
    fingerprint: Hash
    spec: SpecRecord
    recipe: str | None
    shard_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    shards: Parallel[PlannedShard]
    resolves: dict[str, str]

    def mentions(self) -> Iterator[tuple[str, str]]:
        """(id, input hash) of everything this plan says."""
        shards = chain.from_iterable(zip(each.ids, each.input_hashes, strict=True) for each in self.shards)
        return chain(shards, self.resolves.items())

    def check(self, where: str) -> None:
        for each in self.shards:
            if not len(each.ids) == len(each.input_hashes) == len(each.cost) == len(each.frames):
                raise Damaged(where, "the lists of a shard have different lengths")

    def sealed(self) -> bytes:
        """The record as it is written."""
        return seal(self.model_dump() | {"token": uuid.uuid4().hex})


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


def plan_log(entry: Path) -> Log[Plan]:
    """The plans of an entry, as the log that they are."""
    return Log(entry, "plans", read_plan)


def read_plan(path: Path, generation: int) -> Plan:
    """Reads one plan; raises Damaged where it is not what its name says."""
    plan = read_record(Plan, path)
    if plan.generation != generation:
        raise Damaged(str(path), f"it is the record of plan {plan.generation}")
    return plan
