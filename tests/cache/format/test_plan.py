"""How a plan cuts the utterances into shards, whoever asks for it."""

import random
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from made_cache import items, spec

from ser_cache import Item, create_cache
from ser_cache.format.plan import SHARD_BYTES, SHARD_SECONDS, cut


@given(
    st.lists(st.tuples(st.floats(0, 200), st.one_of(st.none(), st.integers(0, 30_000))), min_size=1, max_size=60),
    st.sampled_from([None, 7.5, 30.0]),
    st.randoms(),
)
def test_shards_end_at_64_mb_or_at_the_cost_that_the_plan_says(
    sizes: list[tuple[float, int | None]], seconds: float | None, shuffle: random.Random
):
    entry, limit = spec(features=768), seconds or SHARD_SECONDS
    wanted = [Item(f"{number:03d}", "h", cost, frames) for number, (cost, frames) in enumerate(sizes)]
    shards = cut(wanted, entry, seconds)
    mixed = list(wanted)
    shuffle.shuffle(mixed)
    assert cut(mixed, entry, seconds) == shards
    assert [item for shard in shards for item in shard] == wanted
    for shard in shards:
        assert len(shard) == 1 or sum(item.cost for item in shard) <= limit + 1e-6
        assert len(shard) == 1 or sum((item.frames or 0) * 1536 for item in shard) <= SHARD_BYTES
    filled = sum(max(item.cost / limit, (item.frames or 0) * 1536 / SHARD_BYTES) + 1e-3 for item in wanted)
    assert len(shards) <= 2 * filled + 1


def test_shards_are_filled_evenly_and_as_finely_as_the_plan_says(tmp_path: Path):
    """Forty utterances of 3 s for two workers: one shard would keep one of them idle."""
    wanted = [Item(f"u{number:02d}", "h", 0.8 + number % 3 / 10, 150) for number in range(40)]
    writer = create_cache(tmp_path / "c").writer(spec())
    asked: list[float] = []
    summary = writer.plan(wanted, target=lambda cost: asked.append(cost) or cost / 8)
    assert summary.shard_seconds == sum(item.cost for item in wanted) / 8 == asked[0] / 8 and len(asked) == 1
    costs = [sum(item.cost for item in shard.items) for shard in writer.pending()]
    assert 8 <= len(costs) <= 10 and max(costs) <= summary.shard_seconds
    assert len(cut(wanted, spec(), 30.0)) == 2 and len(cut(wanted[:36], spec(), 30.0)) == 2
    assert [len(shard) for shard in cut(wanted, spec(), 30.0)] == [20, 20]  # not 33 and 7


def test_a_frozen_plan_is_adopted_with_its_cut(tmp_path: Path):
    cache = create_cache(tmp_path / "c")
    first, second = (cache.writer(spec()) for _ in range(2))
    assert first.plan(items(12), target=lambda cost: 3.0).shard_seconds == 3.0
    assert second.plan(items(12), target=lambda cost: 100.0).shard_seconds == 3.0
    assert [shard.items for shard in second.pending()] == [shard.items for shard in first.pending()]
    old = cache.writer(spec(layer=5))
    assert old.plan(items(12)).shard_seconds is None and len(list(old.pending())) == 3


def test_a_plan_of_100_000_items_is_fast(tmp_path: Path):
    wanted = [Item(f"speaker{number % 100:03d}-{number:06d}", f"{number:032x}", 0.5, 250) for number in range(100_000)]
    writer = create_cache(tmp_path / "c").writer(spec(features=768))
    begin = time.process_time()
    summary = writer.plan(wanted)
    seconds = time.process_time() - begin
    assert summary.pending == 100_000 and summary.bytes == 100_000 * 250 * 768 * 2
    assert seconds < 10  # 0.9 s on a quiet core; a quadratic step would take minutes
