"""What `verify` calls good can be read: every row, with the bytes that were in memory."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import h5py
import numpy as np
import pytest
import xxhash
from made_cache import CONTAINERS, items, mapped, spec, state, values, write

from ser_cache import CacheError, Item, Row, create_cache, open_cache
from ser_cache.format.commit import read_commit
from ser_cache.format.seal import BLOCK, hash_file, hash_rows
from ser_cache.maintenance.repair import repair
from ser_cache.maintenance.verify import verify

Change = Callable[[dict[str, Any]], object]
WANTED = [Item(f"u{number:03d}", f"a-{number}", 30.0, 4) for number in (0, 1, 2, 4)]


def _sealed(root: Path) -> None:
    """Makes the commit record fit whatever the data are now, but for the sums of the rows."""
    (path,) = root.glob("entries/*/commits/*/*.json")
    commit = read_commit(path, 1, 0, 0)
    (data,) = root.glob("entries/*/data/*")
    found = [each for each in [data, *data.rglob("*")] if each.is_file()]
    files = {str(each.relative_to(data.parent)): (each.stat().st_size, hash_file(each)) for each in found}
    path.write_bytes(commit.model_copy(update={"files": files}).sealed())


def _reads(root: Path) -> bool:
    """Whether every row is read, and then it is right; anything but our own errors fails the test."""
    try:
        entry = open_cache(root).select()
        for item in WANTED:
            assert entry[item.id].tobytes() == values(item).tobytes()
            entry.special(item.id)
    except CacheError:
        return False
    return True


def _good_means_readable(root: Path) -> None:
    _sealed(root)
    report = verify(root)
    assert report.findings or _reads(root)
    if report.findings:
        assert all(each.kind == "data" for each in report.findings)
        assert repair(root, report) == [] and not verify(root).findings
        write(root, WANTED)
    assert _reads(root)


def _sharding(record: dict[str, Any]) -> dict[str, Any]:
    return record["codecs"][0]["configuration"]


@pytest.mark.parametrize(
    ("array", "change"),
    [
        ("values", lambda each: _sharding(each).update(chunk_shape=[0, 5])),
        ("values", lambda each: _sharding(each).update(chunk_shape=[1, 5])),
        ("values", lambda each: _sharding(each).update(chunk_shape=[3, 5])),
        ("values", lambda each: _sharding(each).update(chunk_shape=[3, 4])),
        ("values", lambda each: _sharding(each).update(chunk_shape=[5])),
        ("values", lambda each: _sharding(each).update(index_location="start")),
        ("values", lambda each: _sharding(each).update(index_location="middle")),
        ("values", lambda each: _sharding(each).update(index_codecs=[{"name": "bytes"}])),
        ("values", lambda each: _sharding(each).update(codecs=[{"name": "bytes", "configuration": {"endian": "big"}}])),
        ("values", lambda each: each["chunk_grid"]["configuration"].update(chunk_shape=[0, 5])),
        ("values", lambda each: each["chunk_grid"]["configuration"].update(chunk_shape=[1, 5])),
        ("values", lambda each: each["chunk_grid"]["configuration"].update(chunk_shape=[2, 5])),
        ("values", lambda each: each["chunk_grid"]["configuration"].update(chunk_shape=[True, 5])),
        ("values", lambda each: each["chunk_key_encoding"].update(configuration={"separator": "."})),
        ("values", lambda each: each.update(fill_value="x")),
        ("values", lambda each: each.update(dimension_names=[1, 2, 3])),
        ("values", lambda each: each.update(shape=[str(size) for size in each["shape"]])),
        ("values", lambda each: each.update(codecs=[])),
        ("offsets", lambda each: each["chunk_grid"]["configuration"].update(chunk_shape=[0])),
        ("offsets", lambda each: each["chunk_grid"]["configuration"].update(chunk_shape=[1])),
        ("ids", lambda each: each["codecs"][0].update(name="sharding_indexed", configuration={})),
        ("special", lambda each: each["chunk_key_encoding"].update(configuration={"separator": "."})),
    ],
)
def test_hostile_chunk_shapes(tmp_path: Path, array: str, change: Change):
    root = tmp_path / "c"
    write(root, WANTED)
    (path,) = root.glob(f"entries/*/data/*/{array}/zarr.json")
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    _good_means_readable(root)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize(
    ("place", "entry"),
    [
        ("one", (1 << 40, 90)),
        ("one", (0, 1 << 63)),
        ("one", (2**64 - 1, 2**64 - 1)),
        ("one", (2, 130)),
        ("one", (0, 0)),
        ("one", (1, 2**64 - 1)),
        ("crc", (0, 0)),
        ("short", (0, 0)),
        ("longer", (0, 0)),
    ],
)
def test_hostile_indexes(tmp_path: Path, place: str, entry: tuple[int, int]):
    root = tmp_path / "c"
    write(root, WANTED)
    (path,) = root.glob("entries/*/data/*/values/c/0/0")
    data = path.read_bytes()
    if place == "one":
        index = struct.pack("<QQ", *entry)
        data = data[:-20] + index + google_crc32c.value(index).to_bytes(4, "little")
    elif place == "crc":
        data = data[:-1] + bytes([data[-1] ^ 1])
    else:
        data = data[20:] if place == "short" else data[:-20] + bytes(40) + data[-20:]
    path.write_bytes(data)
    _good_means_readable(root)


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_bit_that_flips_between_memory_and_the_hash_of_the_file_is_found_by_verify(container: str, tmp_path: Path):
    root = tmp_path / "c"
    write(root, WANTED, container)
    expected = state(root)
    needle = values(WANTED[1]).tobytes()
    (path,) = [each for each in root.glob("entries/*/data/**/*") if each.is_file() and needle in each.read_bytes()]
    path.write_bytes(path.read_bytes().replace(needle, bytes([needle[0] ^ 1]) + needle[1:]))
    _sealed(root)
    (finding,) = verify(root).findings
    assert finding.kind == "data" and "checksum of utterance 'u001'" in finding.problem
    assert not _reads(root)
    assert repair(root, verify(root)) == [] and verify(root).unfinished
    write(root, WANTED, container)
    assert state(root) == expected and not verify(root).findings


def test_what_hdf5_stores_compact_is_read_as_well(tmp_path: Path):
    """Rows that cannot be mapped are summed through the library."""
    root = tmp_path / "c"
    write(root, WANTED, "hdf5")
    (path,) = root.glob("entries/*/data/*")
    with h5py.File(path, "a") as file:
        old = file["values"][:]
        del file["values"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(old.shape)
        made = h5py.h5d.create(file.id, b"values", h5py.h5t.py_create(old.dtype), space, plist)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, old)
    _sealed(root)
    assert not verify(root).findings and _reads(root) and not mapped(open_cache(root).select())
    with h5py.File(path, "a") as file:
        file["values"][0, 0] += 1
    _sealed(root)
    assert "checksum of utterance" in verify(root).findings[0].problem


@pytest.mark.parametrize("sizes", [(), (0, 0), (1, 2, 3), (BLOCK, 1, BLOCK + 7, 0, 5), (BLOCK // 2,) * 5])
@pytest.mark.parametrize("start", [0, 1, BLOCK + 3])
def test_both_sums_in_one_pass(tmp_path: Path, sizes: tuple[int, ...], start: int):
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    path = tmp_path / "x"
    path.write_bytes(bytes(start) + b"".join(row.tobytes() for row in rows) + b"tail")
    digest, crcs = hash_rows(path, start, iter(sizes))
    assert crcs == [google_crc32c.value(row) for row in rows]
    assert digest == hash_file(path) == xxhash.xxh3_128(path.read_bytes()).hexdigest()


def test_a_row_of_no_frames(tmp_path: Path, container: str):
    writer = create_cache(tmp_path / "c").writer(spec(), container=container)
    writer.plan([Item("u", "h")])
    writer.commit(next(writer.pending()), [Row("u", np.zeros((0, 5), np.float16))])
    assert not verify(tmp_path / "c").findings and len(open_cache(tmp_path / "c").select()["u"]) == 0


def test_records_can_be_verified_without_the_features(tmp_path: Path, container: str):
    root = tmp_path / "c"
    write(root, items(8), container)
    data = next(root.glob("entries/*/data/*"))
    for file in [data, *data.rglob("*")]:
        if file.is_file():
            file.write_bytes(b"x")
    assert verify(root).findings
    assert not verify(root, data=False).findings
    next(root.glob("entries/*/commits/*/*.json")).write_bytes(b"{}")
    assert verify(root, data=False).findings
