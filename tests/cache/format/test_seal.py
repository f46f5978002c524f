"""Sealed records that lie: every field of every record of a cache in turn holds what it must not.

One sentence each, never a traceback, never a wrong row, never memory beyond the size of the files.
"""

import json
import os
import tracemalloc
from collections.abc import Iterator
from functools import cache as once
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cache import copy, items, values, write

from ser_cache import CacheError, open_cache
from ser_cache.cli.main import main
from ser_cache.format.seal import seal, unseal
from ser_cache.maintenance.remove import remove_utterances
from ser_cache.maintenance.verify import verify

Pointer = tuple[str | int, ...]
DELETED = object()
DEEP: Any = json.loads("[" * 500 + "]" * 500)
ODD: list[Any] = [None, -1, 1.5, "x", "", [], [None], {}, {"a": [1]}, True, 2**40, 10**30, 1e308, DEEP, DELETED]
WANTED = items(6, per_shard=3)
LIMIT = 16 << 20  # the cache has less than 100 kB; what is beyond was declared, not stored


@once
def _source(container: str) -> Path:
    root = Path(mkdtemp(prefix="ser-fields-")) / "c"
    write(root, WANTED, container)
    remove_utterances(open_cache(root), ["u004"])
    return root


def _load(path: Path) -> dict[str, Any]:
    if path.name == "zarr.json":
        return dict(json.loads(path.read_bytes()))
    return {name: value for name, value in unseal(path.read_bytes(), str(path)).items() if name != "xxh3_128"}


def _pointers(value: Any, at: Pointer = ()) -> Iterator[Pointer]:
    """Every place in a JSON value; of lists the first element stands for all."""
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list) and value:
        inner = [(0, value[0])]
    for name, each in inner:
        yield (*at, name)
        yield from _pointers(each, (*at, name))


def _records(root: Path) -> list[Path]:
    """The records that are read; a copy or a witness that lies is out-voted."""
    found = [path.relative_to(root) for path in sorted(root.rglob("*.json")) if "witnesses" not in path.parts]
    return [path for path in found if path.name != "zarr.json" or "0001-00000000" in str(path)]


def _places(container: str) -> list[tuple[Path, Pointer]]:
    root = _source(container)
    return [(path, pointer) for path in _records(root) for pointer in _pointers(_load(root / path))]


def _lie(path: Path, pointer: Pointer, odd: Any) -> None:
    record = _load(path)
    holder: Any = record
    for name in pointer[:-1]:
        holder = holder[name]
    if odd is DELETED:
        del holder[pointer[-1]]
    else:
        holder[pointer[-1]] = odd
    if path.name == "zarr.json":
        path.write_text(json.dumps(record))
        _recommit(path)
    elif pointer == ("schema",):
        path.write_bytes(seal(record))
    else:
        path.write_bytes(seal({name: value for name, value in record.items() if name != "schema"}))


def _recommit(path: Path) -> None:
    """The commit record of a shard again, so that its hashes fit what the metadata are now."""

    from ser_cache.format.commit import read_commit
    from ser_cache.format.seal import hash_file

    data = next(parent for parent in path.parents if parent.name.endswith(".zarr"))
    for file in data.parents[1].glob("commits/*/*.json"):
        commit = read_commit(file, int(file.parent.name), int(file.name[:8]), int(file.name[9:13]))
        if commit.path == data.name:
            name = str(path.relative_to(data.parent))
            files = {**commit.files, name: (path.stat().st_size, hash_file(path))}
            file.write_bytes(commit.model_copy(update={"files": files}).sealed())


def _use(root: Path) -> None:
    """Reads and verifies everything; anything but our own errors comes through."""
    right = {item.id: item for item in WANTED}
    try:
        cache = open_cache(root)
        for info in cache.entries():
            entry = cache.open(info)
            for name in entry.ids:
                try:
                    row = entry[name]
                    entry.special(name)
                except CacheError as error:
                    assert 5 < len(str(error)) < 2000
                    continue
                assert name not in right or row.tobytes() == values(right[name]).tobytes()
    except CacheError as error:
        assert 5 < len(str(error)) < 2000
    try:
        report = verify(root)
    except CacheError as error:  # no cache any more
        assert "format.json" in str(error) or "format version" in str(error)
    else:
        assert all(0 < len(each.problem) < 1500 and "\n" not in each.problem for each in report.findings)


def _try(root: Path, source: Path, relative: Path, pointer: Pointer, odd: Any) -> None:
    changed = {relative} | (
        {path for path in _records(source) if "commits" in path.parts} if "zarr" in str(relative) else set()
    )
    _lie(root / relative, pointer, odd)
    tracemalloc.reset_peak()
    _use(root)
    assert tracemalloc.get_traced_memory()[1] < LIMIT, (relative, pointer, odd)
    for path in changed:
        (root / path).write_bytes((source / path).read_bytes())


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
def test_every_field_of_every_record(container: str, tmp_path: Path):
    source = _source(container)
    root = copy(source, tmp_path / "c")
    places = _places(container)
    if container == "zarr":  # all other records are those of hdf5
        places = [(path, pointer) for path, pointer in places if path.name == "zarr.json"]
    assert len(places) > 50
    for number, (relative, pointer) in enumerate(places):
        for shift in range(2):  # in turn, so that each field meets some and all meet each
            _try(root, source, relative, pointer, ODD[(2 * number + shift * 7) % len(ODD)])
    _use(root)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data(), odd=JSON)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_json_in_any_field(data: st.DataObject, odd: Any):
    container = data.draw(st.sampled_from(("zarr", "hdf5")))
    relative, pointer = data.draw(st.sampled_from(_places(container)))
    source = _source(container)
    root = copy(source, Path(mkdtemp(prefix="ser-fields-")) / "c")
    tracemalloc.start()
    try:
        _try(root, source, relative, pointer, odd)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "field", ["ids", "input_hashes", "frames", "crc32c", "files", "failures", "environment", "features"]
)
def test_the_commands_say_one_sentence(field: str, tmp_path: Path):
    for odd in ({"a": 1}, [[1]], "x", 10**15):
        root = copy(_source("hdf5"), tmp_path / f"c{len(os.listdir(tmp_path))}")
        path = next(path for path in _records(root) if "commits" in path.parts)
        _lie(root / path, (field,), odd)
        if _load(root / path) == _load(_source("hdf5") / path):
            continue
        for words in (("ls",), ("info",), ("du",), ("gc",), ("verify",), ("verify", "--repair")):
            done = CliRunner().invoke(main, [words[0], str(root), *words[1:]])
            assert done.exception is None or isinstance(done.exception, SystemExit), (words, odd, done.exception)
        assert CliRunner().invoke(main, ["verify", str(root)]).exit_code in (0, 3)
