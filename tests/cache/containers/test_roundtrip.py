"""What was written is what is read, in both containers, whatever the shapes, ids and ways of reading."""

import json
import multiprocessing
from pathlib import Path

import google_crc32c
import h5py
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cache import CONTAINERS, assert_right, copy, items, mapped, spec, special, state, values, worker_reads, write

from ser_cache import (
    Damaged,
    EntrySpec,
    Item,
    MissingRow,
    Row,
    Unsafe,
    WrongRows,
    create_cache,
    open_cache,
)
from ser_cache.format.commit import read_commit
from ser_cache.format.seal import hash_file


def test_rows_come_back(tmp_path: Path, container: str):
    wanted = items(30)
    write(tmp_path / "c", wanted, container)
    entry = open_cache(tmp_path / "c").select(modality="audio", layer=3)
    assert entry.ids == tuple(item.id for item in wanted if not item.id.endswith("7"))
    assert set(entry.failures) == {"u007", "u017", "u027"} and entry.failures["u007"].reason == "nan"
    assert_right(entry, wanted)
    assert entry.total_frames == sum(entry.frames(name) for name in entry.ids) == int(entry.lengths().sum())
    assert mapped(entry)


def test_special_tokens_come_back(tmp_path: Path, container: str):
    wanted = items(12)
    write(tmp_path / "c", wanted, container)
    entry = open_cache(tmp_path / "c").select()
    for item in wanted:
        if item.id in entry:
            expected, mask = special(item), entry.special(item.id)
            assert mask is not None  # each shard of four holds an utterance with special tokens
            assert mask.tolist() == (np.zeros(len(values(item)), bool) if expected is None else expected).tolist()
    write(tmp_path / "d", [item for item in wanted if special(item) is None], container)
    assert open_cache(tmp_path / "d").select().special("u001") is None


def test_ways_of_reading_agree(tmp_path: Path, container: str):
    write(tmp_path / "c", items(30), container)
    entry = open_cache(tmp_path / "c").select()
    names = [*entry.ids[::-1], entry.ids[3], entry.ids[3]]
    gathered = entry.gather(names)
    assert (
        gathered.values.dtype == np.float16
        and gathered.offsets[-1] == len(gathered.values)
        and len(gathered) == len(names)
    )
    scanned = dict(entry.scan())
    buffer = np.empty((100, entry.spec.features), np.float32)
    for number, name in enumerate(names):
        expected = entry[name]
        assert np.array_equal(gathered[number], expected)
        assert np.array_equal(scanned[name], expected)
        assert np.array_equal(entry.read(name), expected)
        read = entry.read(name, out=buffer)
        assert read.base is not None and np.array_equal(read, expected.astype(np.float32))
    assert entry.gather([]).values.shape == (0, 5)
    assert entry.gather(names, out=np.empty((400, 5), np.float16)).lengths.sum() == len(gathered.values)
    assert not next(iter(scanned.values())).flags.writeable


def test_out_that_does_not_fit_is_refused(tmp_path: Path, container: str):
    write(tmp_path / "c", items(8), container)
    entry = open_cache(tmp_path / "c").select()
    longest = max(entry.ids, key=entry.frames)
    for out in (np.empty((0, 5), np.float16), np.empty((20, 4), np.float16)):
        with pytest.raises(WrongRows, match="shape"):
            entry.read(longest, out=out)
        with pytest.raises(WrongRows, match="shape"):
            entry.gather([longest], out=out)


def test_missing_rows_are_named(tmp_path: Path):
    write(tmp_path / "c", items(4))
    entry = open_cache(tmp_path / "c").select()
    for ask in (lambda: entry["nobody"], lambda: entry.read("nobody"), lambda: entry.gather(["u001", "nobody"])):
        with pytest.raises(MissingRow) as caught:
            ask()
        assert caught.value.ids == ("nobody",) and "ser-extract" in str(caught.value)
        assert isinstance(caught.value, KeyError)


@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    container=st.sampled_from(CONTAINERS),
    dtype=st.sampled_from(["float16", "float32"]),
    features=st.integers(1, 7),
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=6, unique=True),
)
def test_any_bytes_and_any_ids(tmp_path_factory: pytest.TempPathFactory, data, container, dtype, features, names):
    """NaN payloads, infinities, empty utterances, shards of those only, ids with newlines and slashes."""
    root = tmp_path_factory.mktemp("any") / "c"
    entry_spec = spec(dtype=dtype, features=features)
    size = entry_spec.itemsize * features
    raw = {name: data.draw(st.binary(max_size=4 * size)) for name in names}
    rows = [
        Row(name, np.frombuffer(each[: len(each) // size * size], dtype).reshape(-1, features))
        for name, each in raw.items()
    ]
    writer = create_cache(root).writer(entry_spec, container=container)
    writer.plan(Item(name, "h") for name in names)
    (shard,) = writer.pending()
    assert writer.commit(shard, rows) == "committed"
    entry = open_cache(root).select()
    assert set(entry.ids) == set(names)
    for row in rows:
        assert entry[row.id].tobytes() == row.values.tobytes()


def test_equal_plans_give_equal_rows_whatever_the_order(tmp_path: Path, container: str):
    wanted = items(20)
    write(tmp_path / "a", wanted, container)
    write(tmp_path / "b", wanted[::-1], container)
    assert state(tmp_path / "a") == state(tmp_path / "b")


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_workers_reopen_the_entry(tmp_path: Path, method: str):
    write(tmp_path / "c", items(12))
    entry = open_cache(tmp_path / "c").select()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    worker = context.Process(target=worker_reads, args=(entry, queue))
    worker.start()
    ids, gathered = queue.get(timeout=60)
    worker.join()
    assert gathered == entry.gather(entry.ids).values.tobytes() and ids == entry.ids


def test_bare_libraries_open_the_containers(tmp_path: Path):
    wanted = [item for item in items(6, per_shard=6)]
    expected = np.concatenate([values(item) for item in wanted])
    for container in CONTAINERS:
        write(tmp_path / container, wanted, container)
        (data,) = (open_cache(tmp_path / container).select().path / "data").iterdir()
        group = zarr.open_group(data, mode="r") if container == "zarr" else h5py.File(data, "r")
        assert np.asarray(group["values"][:]).tobytes() == expected.tobytes()
        assert json.loads(bytes(group["ids"][:])) == [item.id for item in wanted]
        assert list(group["offsets"][:]) == [0, *np.cumsum([len(values(item)) for item in wanted])]
        assert (
            list(np.asarray(group["special"][:]).astype(bool))
            == np.concatenate(
                [np.zeros(len(values(item)), bool) if special(item) is None else special(item) for item in wanted]
            ).tolist()
        )
        assert group.attrs["frame_rate"] == 49.95 and group.attrs["encoder"] == "made/encoder"
        if container == "zarr":
            array = group["values"]
            assert array.metadata.codecs[0].to_dict()["name"] == "sharding_indexed" and not array.compressors
        else:
            assert group["values"].chunks is None and group["values"].compression is None


@pytest.mark.parametrize("frames", [1, 1000, 1024, 1025, 3000])
def test_shard_file_is_byte_for_byte_what_zarr_python_writes(tmp_path: Path, frames: int):
    rng = np.random.default_rng(frames)
    block = rng.standard_normal((frames, 3)).astype(np.float16)
    block[frames // 2 :] = 0
    writer = create_cache(tmp_path / "c").writer(spec(features=3))
    writer.plan([Item("u", "h")])
    writer.commit(next(writer.pending()), [Row("u", block)])
    (data,) = (tmp_path / "c" / "entries").glob("*/data/*")
    theirs = zarr.create_array(
        tmp_path / "theirs",
        shape=block.shape,
        dtype=block.dtype,
        chunks=(min(1024, frames), 3),
        shards=(-(-frames // min(1024, frames)) * min(1024, frames), 3),
        filters=None,
        compressors=None,
        fill_value=float("nan"),
        config={"write_empty_chunks": True},
    )
    theirs[:] = block
    assert (data / "values/c/0/0").read_bytes() == (tmp_path / "theirs/c/0/0").read_bytes()
    ours = json.loads((data / "values/zarr.json").read_text())
    assert ours == json.loads((tmp_path / "theirs/zarr.json").read_text())


def _one_row(root: Path, block: np.ndarray) -> Path:
    """A cache of one utterance with this block; returns its shard file."""
    writer = create_cache(root).writer(spec(features=block.shape[1]))
    writer.plan([Item("u", "h")])
    writer.commit(next(writer.pending()), [Row("u", block)])
    (file,) = (root / "entries").glob("*/data/*/values/c/0/0")
    return file


def test_data_in_another_order_are_read_through_the_library(tmp_path: Path):
    """The sharding codec allows inner chunks in any order; then nothing is mapped, and reads are right all the same."""
    rows, step = 3 * 1024, 1024 * 2 * 2
    block = np.random.default_rng(0).standard_normal((rows, 2)).astype(np.float16)
    file = _one_row(tmp_path / "c", block)
    old = file.read_bytes()
    index = np.array([[2 * step, step], [0, step], [step, step]], dtype="<u8").tobytes()
    chunks = old[step : 2 * step] + old[2 * step : 3 * step] + old[:step]
    file.write_bytes(chunks + index + google_crc32c.value(index).to_bytes(4, "little"))
    entry = _recommitted(tmp_path / "c")
    assert not mapped(entry)
    assert np.array_equal(entry["u"], block)
    assert np.array_equal(entry.gather(["u", "u"]).values[rows:], block)
    assert next(iter(entry.scan()))[1].tobytes() == block.tobytes()


def test_a_bad_index_is_never_trusted(tmp_path: Path):
    block = np.ones((2048, 2), np.float16)
    file = _one_row(tmp_path / "c", block)
    data = bytearray(file.read_bytes())
    data[-10] ^= 1
    file.write_bytes(data)
    entry = _recommitted(tmp_path / "c")
    with pytest.raises(Damaged, match="zarr cannot read it"):
        entry["u"]


def test_a_left_out_chunk_is_refused(tmp_path: Path):
    """Where an empty chunk is left out, the ones behind it move up: equal spacing, wrong rows."""
    block = np.random.default_rng(0).standard_normal((3 * 1024, 2)).astype(np.float16)
    block[:1024] = np.nan
    file = _one_row(tmp_path / "c", block)
    array = zarr.open_array(file.parents[2], mode="r+")
    array[:] = block  # by default zarr-python leaves it out
    assert file.stat().st_size < block.nbytes
    with pytest.raises(Unsafe, match="declares"):
        _recommitted(tmp_path / "c")


def _recommitted(root: Path):
    """Opens a cache whose data were rewritten on purpose: the commit is made to fit their sizes and hashes."""
    (path,) = (root / "entries").glob("*/commits/*/*.json")
    commit = read_commit(path, 1, 0, 0)
    data = path.parents[2] / "data"
    files = {name: ((data / name).stat().st_size, hash_file(data / name)) for name in commit.files}
    path.write_bytes(commit.model_copy(update={"files": files}).sealed())
    return open_cache(root).select()


def test_entries_of_one_cache_live_side_by_side(tmp_path: Path):
    write(tmp_path / "c", items(8))
    write(tmp_path / "c", items(8), "hdf5", entry=spec(layer=9))
    text = EntrySpec(modality="text", encoder="made/bert", layer=3, dtype="float32", features=5)
    write(tmp_path / "c", items(8), entry=text)
    cache = open_cache(tmp_path / "c")
    assert [info.spec.layer for info in cache.entries()] == [3, 9, 3]
    assert cache.select(modality="text").dtype == np.float32
    assert (
        cache.select(modality="audio", layer=9)["u001"].tobytes()
        == cache.select(modality="audio", layer=3)["u001"].tobytes()
    )


def test_containers_may_be_mixed_in_an_entry(tmp_path: Path):
    write(tmp_path / "c", items(20), "zarr", shards=2)
    write(tmp_path / "c", items(20), "hdf5")
    write(tmp_path / "one", items(20), "zarr")
    assert state(tmp_path / "c") == state(tmp_path / "one")
    copy(tmp_path / "c", tmp_path / "moved")  # nothing depends on where a cache lies
    assert state(tmp_path / "moved") == state(tmp_path / "one")
