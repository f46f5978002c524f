"""Units of work: shards of several layers' entries that hold the same utterances and so share one forward pass."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_base.progress import duration
from ser_cache import EntrySpec, Shard
from ser_cache.catalog import Cache
from ser_cache.writer import Writer
from ser_data.manifest.columns import Utterance
from ser_extract.encoders.base import CORE_FLOPS, Modality


@dataclass(frozen=True)
class Unit:
    """What a worker does in one go. Small: ids, hashes, paths and texts, never arrays.

    Attributes:
        modality: Of all its shards.
        shards: (layer, shard) of every entry that lacks these utterances.
        seconds: Audio seconds of its utterances (0 for text).
        cost: Rough seconds of one core.
        utterances: Where their recordings and texts are.
    """

    modality: Modality
    shards: tuple[tuple[int, Shard], ...]
    seconds: float
    cost: float
    utterances: tuple[Utterance, ...] = ()

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


def gather(
    modality: Modality,
    pending: Mapping[int, Sequence[Shard]],
    seconds: Mapping[str, float],
    utterances: Mapping[str, Utterance],
) -> list[Unit]:
    """Groups pending shards by their utterances.

    Args:
        modality: Of the entries.
        pending: Layer -> its pending shards.
        seconds: Utterance -> audio seconds.
        utterances: By id.

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
            tuple(utterances[name] for name, _ in items),
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


# How much work goes into one shard: chosen once, before planning, and written into the plan.
#
# A shard is what a commit saves and what a kill loses, so it should take about `COMMIT_SECONDS` of a worker's time. A small
# corpus is cut finer, so that all workers are busy to the end; a very long one coarser, since each shard is a few files.
# Costs are in seconds of a core of `CORE_FLOPS`; a short probe says how many of them a core of this machine does in a second.
COMMIT_SECONDS = 30.0
LONGEST_SECONDS = 120.0
MANY = 4_000
"""Shards of `COMMIT_SECONDS` that a stream may have; beyond it they grow, up to `LONGEST_SECONDS`."""
EACH = 4
"""Shards for each worker, where the corpus is too small for `COMMIT_SECONDS`."""
LEAST_SECONDS = 2.0
"""Below this a commit would cost more than the balance is worth."""
REACHED = 0.65
"""What engines reach of the probe's speed, at least (wav2vec 2.0 base 0.89, WavLM and Whisper 0.7)."""
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Flags of processors, x86 and ARM, whose products of bfloat16 are faster than those of float32."""
ACCELERATOR = 100.0
"""Pace of a GPU, roughly; there the bytes of a shard are the closer limit."""


def core_pace() -> float:
    """Cost that one core of this machine does in a second of its time: a matrix product, in 0.1 s of one thread."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    rows, width = 512, 768
    left, right = np.ones((rows, width), np.float32), np.ones((width, width), np.float32)
    out = np.empty_like(left)
    spent = []
    with threadpool_limits(1):
        for _ in range(8):
            began = time.thread_time()
            np.matmul(left, right, out=out)
            spent.append(time.thread_time() - began)
    return REACHED * 2.0 * rows * width * width / max(min(spent), 1e-6) / CORE_FLOPS


def shard_cost(cost: float, workers: int, pace: float) -> float:
    """The most that a shard may cost; all workers get as many shards, or some would wait for the last one of another.

    Args:
        cost: Of all that is to be encoded.
        workers: Processes that share the work, on all machines together; at least 1.
        pace: Cost that one of them does in a second.
    """
    seconds = cost / pace
    longest = min(max(seconds / MANY, COMMIT_SECONDS), LONGEST_SECONDS)
    each = max(math.ceil(seconds / (workers * longest)), min(EACH, int(seconds / (workers * LEAST_SECONDS))), 1)
    even = seconds / (workers * each - 0.5)  # room for half a shard more: utterances do not fill them exactly
    return max(round(min(max(even, LEAST_SECONDS), longest) * pace, 6), 1e-6)


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor has instructions for products of bfloat16; where the system does not say, yes."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    flags = {
        word for line in text.splitlines() if line.lower().startswith(("flags", "features")) for word in line.split()
    }
    return not flags or not flags.isdisjoint(BFLOAT16)


# How long the shards in hand may still take: what the first Ctrl-C says.
class Waiting:
    """Compares the costs of units with what was encoded so far.

    Args:
        units: The work of a run.
        workers: Processes that share it.
        clock: Seconds, rising.
    """

    def __init__(self, units: Sequence[Unit], workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[tuple[str, tuple[str, ...]], float] = {unit.key: unit.cost for unit in units}
        self._workers, self._began, self._done = max(workers, 1), clock(), 0.0
        self._each: dict[str, float] = {}
        for modality in {unit.modality for unit in units}:
            own = [unit for unit in units if unit.modality == modality]
            self._each[modality] = sum(unit.cost for unit in own) / max(sum(len(unit.ids) for unit in own), 1)

    def encoded(self, modality: str, utterances: int) -> None:
        """So many utterances are encoded."""
        self._done += utterances * self._each.get(modality, 0.0)

    def saved(self, unit: tuple[str, tuple[str, ...]]) -> None:
        """A unit is committed; its key."""
        self._left.pop(unit, None)

    @property
    def seconds(self) -> float | None:
        """At most so long, at the mean pace so far: the whole of the costliest unit that is not saved; None: unknown yet."""
        elapsed = self._clock() - self._began
        if not self._left:
            return 0.0
        return max(self._left.values()) * elapsed * self._workers / self._done if self._done else None

    def __str__(self) -> str:
        seconds = self.seconds
        return "how long is not known yet" if seconds is None else f"at most about {duration(seconds)}"
