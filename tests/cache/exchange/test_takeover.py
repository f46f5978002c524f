"""Rows taken over by content: copied under a new id after a check, never from what failed, is empty or was withdrawn."""

from pathlib import Path

import numpy as np
import pytest

from ser_cache import EntrySpec, Failure, Item, Row, create_cache, open_cache, sources, take_over

SPEC = EntrySpec(
    modality="audio",
    encoder="made/up",
    layer=3,
    dtype="float16",
    features=8,
    frame_rate=50.0,
    declared={"made": "by a test"},
)


def frames(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(5 + seed, 8)).astype(np.float16)


def filled(path: Path, container: str = "zarr"):
    """Rows a, b, c of inputs ha, hb, hc; d failed; e has no frames."""
    cache = create_cache(path)
    writer = cache.writer(SPEC, container=container)
    writer.plan([Item(name, f"h{name}", 1.0, 8) for name in "abcde"])
    for shard in writer.pending():
        rows = [Row(name, frames(number), np.arange(5 + number) == 0) for number, name in enumerate("abc")]
        rows.append(Row("e", np.empty((0, 8), np.float16), np.empty(0, bool)))
        writer.commit(shard, rows, {"d": Failure("nan")}, {"versions": {"torch": "1"}})
    return cache


@pytest.mark.parametrize("container", ["zarr", "hdf5"])
def test_new_ids_get_copies_and_the_rest_is_left(tmp_path: Path, container: str):
    cache = filled(tmp_path, container)
    writer = cache.writer(SPEC)
    items = [Item(f"/moved/{name}", f"h{name}", 1.0, 8) for name in "abcde"] + [Item("new", "hnew", 1.0, 8)]
    assert writer.plan(items).pending == 6
    assert take_over(cache, writer, items) == 3
    assert writer.plan(items).pending == 3
    entry = open_cache(tmp_path).select(modality="audio")
    for number, name in enumerate("abc"):
        np.testing.assert_array_equal(entry[f"/moved/{name}"], frames(number))
        np.testing.assert_array_equal(entry.special(f"/moved/{name}"), entry.special(name))
    assert entry.environment("/moved/a") == {"taken_over": [{"versions": {"torch": "1"}}]}
    assert sorted(entry.missing) == ["/moved/d", "/moved/e", "new"]
    (left,) = [shard for shard in writer.pending()]
    assert {item.id for item in left.items} == {"/moved/d", "/moved/e", "new"}
    assert take_over(cache, writer, items) == 0


def test_nothing_is_taken_from_a_withdrawn_id_nor_for_one(tmp_path: Path):
    cache = filled(tmp_path)
    cache.withdraw(["a", "moved/b"])
    writer = cache.writer(SPEC)
    items = [Item(f"moved/{name}", f"h{name}", 1.0, 8) for name in "abc"]
    writer.plan(items)
    assert take_over(cache, writer, items) == 1
    assert "moved/c" in open_cache(tmp_path).select(modality="audio")


def test_a_damaged_row_is_computed_again(tmp_path: Path):
    cache = filled(tmp_path)
    data = next((tmp_path / "entries").rglob("c/0/0"), None) or max(
        (path for path in (tmp_path / "entries").rglob("*") if path.is_file() and "data" in path.parts),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(data.read_bytes())
    content[4] ^= 0xFF  # in the row of a
    data.write_bytes(content)
    writer = cache.writer(SPEC)
    items = [Item(f"moved/{name}", f"h{name}", 1.0, 8) for name in "abc"]
    writer.plan(items)
    taken = take_over(cache, writer, items)
    assert taken < 3
    writer.plan(items)
    left = {item.id for shard in writer.pending() for item in shard.items}
    assert len(left) == 3 - taken and "moved/a" in left


def test_an_id_that_failed_or_is_there_is_not_new(tmp_path: Path):
    entry = filled(tmp_path).select(modality="audio")
    assert sources(entry, [Item("a", "ha"), Item("d", "hd"), Item("x", "hd"), Item("x2", "he"), Item("b", "ha")]) == {
        "b": "a"
    }
