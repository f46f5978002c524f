"""The writer of one entry: plan, then for each pending shard compute and commit.

Any number of writers may work on one entry.

```python
writer = create_cache("cache").writer(spec, container="zarr")
writer.plan(Item(id, input_hash, cost=seconds, frames=estimate) for ...)
for shard in writer.pending():
    writer.commit(shard, rows=[Row(item.id, values) for item in shard.items])
```
Kill it anywhere and run it again: what a call of `commit` acknowledged stays, the rest is computed again.
"""

import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ser_base.files import remove_if_dead
from ser_cache.errors import WrongRows
from ser_cache.format.commit import RecordedFailure
from ser_cache.format.durable import writing
from ser_cache.format.layout import GENERATION_NAME, TEMPORARY_NAME, folder, names
from ser_cache.format.ledger import Key, Ledger, Work, uncollected
from ser_cache.format.plan import Plan, PlannedShard, Target, cut, plan_log
from ser_cache.format.protocol import write_commit
from ser_cache.format.seal import SpecRecord, shallow
from ser_cache.format.spec import EntrySpec, canonical
from ser_cache.items import Failure, Item, Outcome, PlanSummary, Row, Shard

SELDOM = 64
"""Commits are listed again after as many shards as there are commits, divided by this: a listing costs what is there."""


def _clear(entry: Path) -> None:
    """Removes the temporary files that killed writers left in an entry; those of living ones are younger."""
    generations = names(entry, "commits", like=GENERATION_NAME)
    for place in ((), ("plans",), ("data",), *(("commits", generation) for generation in generations)):
        for name in names(entry, *place, like=TEMPORARY_NAME):
            remove_if_dead(entry.joinpath(*place, name))


class Writer:
    """Writes one entry. Made by `Cache.writer`.

    Attributes:
        spec: what is written.
        container: name of the container of new shards; shards of both kinds may live in one entry.
        recipe: command that makes these rows, printed by ``ser cache verify --repair``; opaque here.

    Examples:
        >>> import numpy as np
        >>> from ser_cache import EntrySpec, Item, Row, create_cache
        >>> spec = EntrySpec(modality="audio", encoder="zeros", layer=0, dtype="float32", features=2)
        >>> writer = create_cache("mine").writer(spec, container="zarr")
        >>> plan = writer.plan(Item(f"clip{n}", input_hash=f"hash {n}", cost=0.1, frames=50) for n in range(4))
        >>> for shard in writer.pending():
        ...     rows = [Row(item.id, np.zeros((50, 2), np.float32)) for item in shard.items]
        ...     print(shard.name, writer.commit(shard, rows))
        0001/00000000 committed
    """

    def __init__(
        self,
        path: Path,
        spec: EntrySpec,
        container_name: str,
        recipe: str | None,
        withdrawn: Callable[[], frozenset[str]],
    ) -> None:
        self.path, self.spec, self.container, self.recipe = path, spec, container_name, recipe
        self._withdrawn = withdrawn
        self._ledger = Ledger(path, spec.fingerprint)
        self._items: dict[str, Item] | None = None
        self._target: Target | None = None
        self._others = False  # whether another writer was seen at work
        for name in ("plans", "commits", "data", "quarantine"):
            with writing(path):
                folder(path, name)
        _clear(path)

    @uncollected()
    def plan(self, items: Iterable[Item], *, target: Target | None = None, retry_failed: bool = False) -> PlanSummary:
        """Freezes what is new or changed as a plan; adopts what another writer has planned already.

        Args:
            items: every utterance wanted now. Those not named are left as they are.
            target: total cost of what is new -> the most that a shard of it may cost; it is written into the plan. None:
                that of the call before, or else `ser_cache.plan.SHARD_SECONDS`.
            retry_failed: plan utterances again that are recorded as failed.

        Raises:
            WrongRows: an id twice, or a negative cost or number of frames.
        """
        self._items = _checked(items)
        self._target = target or self._target
        log = plan_log(self.path)
        changed: tuple[str, ...] | None = None
        while True:
            self._ledger.refresh()
            log.complete()  # of a writer that was killed: nothing is built on a plan that could be lost unnoticed
            summary, plan = self._next_plan(retry_failed)
            changed = summary.changed if changed is None else changed  # the new plan knows their content
            if plan is None:
                return replace(summary, changed=changed)
            if log.append(plan.generation, plan.sealed()):  # else another plan took its number: look again
                retry_failed = False

    def _next_plan(self, retry_failed: bool) -> tuple[PlanSummary, Plan | None]:
        assert self._items is not None
        ledger, withdrawn = self._ledger, self._withdrawn()
        asked = self._asked(withdrawn)
        last = ledger.wanted()
        rows, failures = ledger.rows(asked), ledger.failures(asked)
        work, planned = Work(ledger, asked), {}
        for key in ledger.open_shards():
            planned.update(dict.fromkeys(work.pending(key), key[0]))
        new: list[Item] = []
        resolves: dict[str, str] = {}
        for name, input_hash in asked.items():
            done = name in rows or name in planned or (name in failures and not retry_failed)
            if not done:
                new.append(self._items[name])
            elif last.get(name) != input_hash:
                resolves[name] = input_hash
        pending = [self._items[name] for name in asked if name in planned]
        summary = PlanSummary(
            asked=len(self._items),
            kept=len(rows),
            failed=sum(name not in rows and name not in planned for name in failures),
            withdrawn=len(self._items) - len(asked),
            pending=len(pending),
            changed=tuple(name for name, input_hash in asked.items() if last.get(name, input_hash) != input_hash),
            generations=tuple(sorted(set(planned.values()))),
            bytes=sum((item.frames or 0) * self.spec.features * self.spec.itemsize for item in pending),
            seconds=float(sum(item.cost for item in pending)),
            shard_seconds=ledger.plans[max(planned.values())].shard_seconds if planned else None,
        )
        if not new and not resolves:
            return summary, None
        seconds = self._target(sum(item.cost for item in new)) if self._target is not None else None
        generation = max(ledger.plans, default=0) + 1
        shards = cut(new, self.spec, seconds)
        plan = Plan(
            generation=generation,
            fingerprint=self.spec.fingerprint,
            spec=SpecRecord(**self.spec.as_dict()),
            recipe=self.recipe,
            shard_seconds=seconds,
            shards=[PlannedShard.of(shard) for shard in shards],
            resolves=resolves,
        )
        return summary, plan

    def pending(self, retry_failed: bool = False) -> Iterator[Shard]:
        """Yields each shard that has work left, once; what others commit meanwhile is left out.

        Without a call of `plan` before, it is the work of the plans on disk. Where another writer is at work the order
        is random, so that the two seldom meet; the rows do not depend on it.

        Args:
            retry_failed: also those recorded as failed, once more.
        """
        self._ledger.refresh()
        withdrawn = self._withdrawn()
        if self._items is None:
            wanted = self._ledger.wanted()
            planned = chain.from_iterable(shard.items() for plan in self._ledger.own_plans() for shard in plan.shards)
            self._items = {item.id: item for item in planned if wanted[item.id] == item.input_hash}
        if retry_failed:
            self.plan(self._items.values(), retry_failed=True)
        yielded: set[Key] = set()
        left: list[Key] = []
        work, since = Work(self._ledger, self._asked(withdrawn)), 0
        while True:
            shard, fresh = None, not left
            if fresh or since >= len(self._ledger.commits) // SELDOM:
                seen, since = set(self._ledger.commits), 0
                self._ledger.refresh()
                self._others = self._others or bool(set(self._ledger.commits) - seen - yielded)
                work.refresh()
            if fresh:
                left = [key for key in self._ledger.open_shards() if key not in yielded]
            while left and shard is None:
                key = left.pop(random.randrange(len(left)) if self._others else 0)
                if since and self._ledger.committed(key):
                    self._others = True
                elif key not in self._ledger.commits:
                    shard = self._shard(key, work)
            if shard is None:
                if not fresh:
                    continue  # what others quarantined meanwhile is open again
                # shards that others committed without some of our utterances leave these over
                before = len(self._ledger.plans)
                self.plan(list(self._items.values()))
                if len(self._ledger.plans) == before:
                    return
                continue
            yielded.add((shard.generation, shard.number))
            since += 1
            yield shard
            now = self._withdrawn()
            if now != withdrawn:
                withdrawn, work = now, Work(self._ledger, self._asked(now))

    def _asked(self, withdrawn: frozenset[str]) -> dict[str, str]:
        """id -> input hash of every utterance that is wanted and not withdrawn."""
        assert self._items is not None
        return {name: item.input_hash for name, item in self._items.items() if name not in withdrawn}

    def _shard(self, key: Key, work: Work) -> Shard | None:
        assert self._items is not None
        ids = work.pending(key)
        return Shard(*key, tuple(self._items[name] for name in ids)) if ids else None

    def commit(
        self,
        shard: Shard,
        rows: Sequence[Row],
        failures: Mapping[str, Failure] | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Writes one shard, all of it or nothing; on return it is on the disk.

        Args:
            shard: from `pending`.
            rows: of every item of the shard that did not fail, in any order.
            failures: reason for every item that did.
            environment: what may differ between equal rows: versions, device, threads, time. JSON values.

        Returns:
            ``committed``, or ``already`` if another writer was first (our data are deleted again).

        Raises:
            WrongRows: ids are missing, unknown or twice, or values do not fit the spec.
            CannotWrite: disk full or read-only; nothing is visible, what was committed before is safe.
        """
        failures = dict(failures or {})
        try:
            environment = shallow(json.loads(canonical(dict(environment or {}))))
        except (TypeError, ValueError, RecursionError) as error:
            raise WrongRows("environment", f"it must hold JSON values only ({error})") from error
        key = (shard.generation, shard.number)
        hashes = {item.id: item.input_hash for item in shard.items}
        rows = self._checked_rows(shard, rows, failures)
        self._ledger.refresh_plans()
        if self._ledger.committed(key):
            self._others = True
            return "already"
        planned = self._ledger.plans[shard.generation].shards[shard.number]
        withdrawn = self._withdrawn()
        rows = [row for row in rows if row.id not in withdrawn]
        failures = {name: failure for name, failure in failures.items() if name not in withdrawn}
        held = {row.id for row in rows} | set(failures)
        outcome = write_commit(
            self.path,
            self.spec,
            self.container,
            key,
            0,
            rows,
            hashes,
            {
                name: RecordedFailure(reason=failure.reason, detail=failure.detail, input_hash=hashes[name])
                for name, failure in sorted(failures.items())
            },
            [name for name in planned.ids if name not in held],
            environment,
            self.recipe,
        )
        self._others = self._others or outcome == "already"
        return outcome

    def _checked_rows(self, shard: Shard, rows: Sequence[Row], failures: Mapping[str, Failure]) -> list[Row]:
        names = [row.id for row in rows] + list(failures)
        expected = {item.id for item in shard.items}
        if len(set(names)) != len(names) or set(names) != expected:
            odd = sorted(set(names) ^ expected) or sorted({name for name in names if names.count(name) > 1})
            raise WrongRows(
                f"shard {shard.name}",
                f"rows and failures together must be its {len(expected):,} items, once each; see {odd[:3]}",
            )
        for row in rows:
            values = row.values
            if values.ndim != 2 or values.shape[1] != self.spec.features or values.dtype != np.dtype(self.spec.dtype):
                raise WrongRows(
                    f"row {row.id!r}",
                    f"values are {values.shape} {values.dtype}, "
                    f"the entry holds (frames, {self.spec.features}) {self.spec.dtype}",
                )
            if row.special is not None and row.special.shape != (len(values),):
                raise WrongRows(
                    f"row {row.id!r}", f"its mask has shape {row.special.shape}, its values {len(values):,} frames"
                )
        return sorted(rows, key=lambda row: row.id)


def _checked(items: Iterable[Item]) -> dict[str, Item]:
    by_id: dict[str, Item] = {}
    for item in items:
        if item.id in by_id:
            raise WrongRows(f"item {item.id!r}", "its id is given twice")
        if not 0 <= item.cost < math.inf or (item.frames is not None and item.frames < 0):
            raise WrongRows(f"item {item.id!r}", f"cost {item.cost} or frames {item.frames} is negative or not finite")
        by_id[item.id] = item
    return by_id
