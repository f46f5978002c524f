"""Caches from strangers: nothing outside is read, nothing huge is allocated, nothing runs.

Each is refused in one clear sentence.
"""

import ast
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from made_cache import copy, items, values, write

import ser_cache
from ser_cache import CacheError, Damaged, Item, Row, Unsafe, create_cache, open_cache
from ser_cache.format.commit import read_commit
from ser_cache.format.seal import hash_file, seal, unseal
from ser_cache.maintenance.verify import verify


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of the cache."""
    path = tmp_path / "secret"
    path.write_bytes(b"root:x:0:0:" * 10)
    return path


def _data(root: Path) -> Path:
    (data,) = root.glob("entries/*/data/*")
    return data


def _recommit(root: Path, **changes: Any) -> None:
    """What an attacker can do: make the commit record fit whatever the data are now."""
    (path,) = root.glob("entries/*/commits/*/*.json")
    commit = read_commit(path, 1, 0, 0)
    data = _data(root)
    found = [each for each in [data, *data.rglob("*")] if each.is_file()]
    files = {str(each.relative_to(data.parent)): (each.stat().st_size, hash_file(each)) for each in found}
    path.write_bytes(commit.model_copy(update={"files": files, **changes}).sealed())


def _read(root: Path, name: str = "u000") -> Any:
    entry = open_cache(root, verify_reads=False).select()
    return entry[name], entry.special(name), entry.gather([name])


def _hdf5(root: Path) -> Path:
    write(root, items(4), "hdf5")
    return _data(root)


def test_hdf5_external_storage_is_refused(tmp_path: Path, secret: Path):
    path = _hdf5(tmp_path / "c")
    with h5py.File(path, "a") as file:
        shape, dtype = file["values"].shape, file["values"].dtype
        del file["values"]
        size = int(np.prod(shape)) * 2
        file.create_dataset("values", shape=shape, dtype=dtype, external=[(str(secret), 0, size)])
    _recommit(tmp_path / "c")
    with pytest.raises(Unsafe, match="another file"):
        _read(tmp_path / "c")


def test_hdf5_virtual_data_sets_are_refused(tmp_path: Path, secret: Path):
    path = _hdf5(tmp_path / "c")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.zeros((200, 5), np.float16)
    with h5py.File(path, "a") as file:
        shape = file["values"].shape
        del file["values"]
        layout = h5py.VirtualLayout(shape, np.float16)
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", (200, 5))[: shape[0]]
        file.create_virtual_dataset("values", layout)
    _recommit(tmp_path / "c")
    with pytest.raises(Unsafe, match="another file"):
        _read(tmp_path / "c")


@pytest.mark.parametrize("kind", ["external", "soft", "soft to a group"])
def test_hdf5_links_are_refused(tmp_path: Path, kind: str):
    path = _hdf5(tmp_path / "c")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["values"] = np.zeros((200, 5), np.float16)
    with h5py.File(path, "a") as file:
        if kind == "external":
            del file["values"]
            file["values"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "values")
        elif kind == "soft":
            file.move("values", "offsets2")
            file["values"] = h5py.SoftLink("/offsets2")
        else:
            del file["ids"]
            file["ids"] = h5py.SoftLink("/")
    _recommit(tmp_path / "c")
    with pytest.raises(Unsafe, match="link|no such member"):
        _read(tmp_path / "c")


@pytest.mark.parametrize("member", ["values", "offsets", "ids", "special"])
def test_hdf5_shape_bombs_are_refused(tmp_path: Path, member: str):
    path = _hdf5(tmp_path / "c")
    with h5py.File(path, "a") as file:
        dtype = file[member].dtype
        del file[member]
        file.create_dataset(member, shape=(10**6, 10**5) if member == "values" else (10**11,), dtype=dtype)
    _recommit(tmp_path / "c")
    with pytest.raises(Unsafe, match="declares"):
        _read(tmp_path / "c")


def test_hdf5_filters_and_chunks_are_refused(tmp_path: Path):
    path = _hdf5(tmp_path / "c")
    with h5py.File(path, "a") as file:
        old = file["values"][:]
        del file["values"]
        file.create_dataset("values", data=old, compression="gzip")
    _recommit(tmp_path / "c")
    with pytest.raises(Unsafe, match="contiguous"):
        _read(tmp_path / "c")


def _zarr(root: Path) -> Path:
    write(root, items(4), "zarr")
    return _data(root)


def _edit(path: Path, change: Any) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("values", lambda each: each.update(shape=[10**9, 10**6])),
        ("values", lambda each: each["chunk_grid"]["configuration"].update(chunk_shape=[10**9, 10**6])),
        ("values", lambda each: each["codecs"][0]["configuration"].update(chunk_shape=[10**9, 10**6])),
        ("values", lambda each: each["codecs"][0]["configuration"].update(chunk_shape=[-1, 5])),
        ("values", lambda each: each.update(data_type="float64")),
        ("offsets", lambda each: each.update(shape=[10**12])),
        ("ids", lambda each: each.update(shape=[10**12])),
        ("special", lambda each: each["chunk_grid"]["configuration"].update(chunk_shape=[10**12])),
    ],
)
def test_zarr_shape_bombs_are_refused(tmp_path: Path, name: str, change: Any):
    data = _zarr(tmp_path / "c")
    _edit(data / name / "zarr.json", change)
    _recommit(tmp_path / "c")
    with pytest.raises((Unsafe, Damaged)) as caught:
        _read(tmp_path / "c")
    assert "declares" in str(caught.value) or "metadata" in str(caught.value)


@pytest.mark.parametrize("codec", ["zstd", "gzip", "blosc", "numcodecs.pickle", "evil"])
@pytest.mark.parametrize("place", ["outer", "inner", "index"])
def test_zarr_codecs_outside_of_the_allow_list_are_refused(tmp_path: Path, codec: str, place: str):
    data = _zarr(tmp_path / "c")

    def change(record: dict[str, Any]) -> None:
        sharding = record["codecs"][0]["configuration"]
        target = {"outer": record["codecs"], "inner": sharding["codecs"], "index": sharding["index_codecs"]}[place]
        target.append({"name": codec, "configuration": {}})

    _edit(data / "values" / "zarr.json", change)
    _recommit(tmp_path / "c")
    with pytest.raises(Unsafe, match="codec"):
        _read(tmp_path / "c")


@pytest.mark.parametrize(
    "change",
    [
        lambda each: each.clear(),
        lambda each: each.update(codecs="bytes"),
        lambda each: each.update(codecs=[]),
        lambda each: each.pop("chunk_grid"),
        lambda each: each.update(storage_transformers=[{"name": "evil"}]),
        lambda each: each.update(node_type="group"),
        lambda each: each["chunk_key_encoding"].update(name="evil"),
    ],
)
def test_zarr_metadata_of_any_kind_give_our_own_error(tmp_path: Path, change: Any):
    data = _zarr(tmp_path / "c")
    _edit(data / "values" / "zarr.json", change)
    _recommit(tmp_path / "c")
    with pytest.raises(CacheError):
        _read(tmp_path / "c")


def test_symbolic_links_are_refused_everywhere(tmp_path: Path, container: str):
    """Each file and each directory in turn is replaced by a link to its own moved self.

    The same bytes, and still refused.
    """
    source = tmp_path / "source"
    write(source, items(4), container).attach("manifest.parquet", b"x")
    paths = sorted(path.relative_to(source) for path in source.rglob("*") if "checksums" not in path.parts)
    paths = [path for path in paths if path.suffix != ".copy" and "witnesses" not in path.parts]  # see test_links
    assert len(paths) > 10
    for number, relative in enumerate(paths):
        if relative.name in ("quarantine", "commits", "attachments") and (source / relative).is_dir():
            continue
        root = copy(source, tmp_path / f"c{number}")
        outside = tmp_path / f"outside{number}"
        os.rename(root / relative, outside)
        os.symlink(outside, root / relative)
        with pytest.raises(Unsafe, match="symbolic link"):
            _read(root)
            open_cache(root).attachment("manifest.parquet")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../../../../etc/passwd",
        "0001-00000000-" + "0" * 32 + ".h5/../../x",
        "C:\\x",
        "a\0b",
        "x/" * 3000 + "a",
        "",
        ".",
        "data",
    ],
)
def test_paths_that_leave_the_cache_are_refused(tmp_path: Path, path: str):
    write(tmp_path / "c", items(4), "hdf5")
    (record,) = (tmp_path / "c").glob("entries/*/commits/*/*.json")
    commit = read_commit(record, 1, 0, 0)
    name = str(commit.path)
    for change in (
        {"path": path},
        {"files": {**commit.files, path: (1, "0" * 32)}},
        {"files": {f"{name}/../{path}": (1, "0" * 32)}},
    ):
        record.write_bytes(commit.model_copy(update=change).sealed())
        with pytest.raises(CacheError):
            _read(tmp_path / "c")
        assert verify(tmp_path / "c").findings


def test_records_of_any_kind_give_our_own_error(tmp_path: Path):
    """Every field of every record replaced by every odd value, with a checksum that fits."""
    write(tmp_path / "c", items(4), "hdf5")
    odd: list[Any] = [None, -1, 1e300, "x", "", [], [None], {}, {"a": 1}, True, [[1]], "../x", 10**30]
    tried = 0
    for path in sorted((tmp_path / "c").rglob("*.json")):
        original = path.read_bytes()
        record = unseal(path.read_bytes(), str(path))
        for field in record:
            if field == "xxh3_128":
                continue
            for value in odd:
                changed = {name: each for name, each in record.items() if name != "xxh3_128"}
                changed[field] = value
                path.write_bytes(json.dumps(changed).encode() if field == "schema" else seal(changed))
                tried += 1
                try:
                    row = _read(tmp_path / "c")[0]
                    assert row.tobytes() == values(items(4)[0]).tobytes()
                except CacheError as error:
                    assert len(str(error).splitlines()[0]) < 2000
        path.write_bytes(original)
    assert tried > 300
    assert _read(tmp_path / "c")


def test_a_commit_that_declares_more_than_its_files_hold_is_refused(tmp_path: Path):
    write(tmp_path / "c", items(4), "zarr")
    (record,) = (tmp_path / "c").glob("entries/*/commits/*/*.json")
    commit = read_commit(record, 1, 0, 0)
    record.write_bytes(commit.model_copy(update={"frames": [10**12, *commit.frames[1:]]}).sealed())
    with pytest.raises(Unsafe, match="declares"):
        _read(tmp_path / "c")


def test_a_newer_format_is_refused_by_its_number(tmp_path: Path):
    write(tmp_path / "c", items(4))
    path = tmp_path / "c" / "format.json"
    path.write_bytes(seal({"kind": "format", "format": "ser-cache", "version": 2}))
    with pytest.raises(ser_cache.UnsupportedFormat, match="version 2"):
        open_cache(tmp_path / "c")


def test_directories_that_are_no_cache_are_left_alone(tmp_path: Path):
    with pytest.raises(ser_cache.NotACache, match="does not exist"):
        open_cache(tmp_path / "nowhere")
    (tmp_path / "thesis.txt").write_text("years of work")
    for look in (open_cache, verify):
        with pytest.raises(ser_cache.NotACache, match="it is a file"):
            look(tmp_path / "thesis.txt")
    for use in (open_cache, create_cache):
        with pytest.raises(ser_cache.NotACache):
            use(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_attachment_names_stay_inside(tmp_path: Path):
    cache = create_cache(tmp_path / "c")
    for name in ("../x", "/x", "a/b", "", ".hidden", "a\0b", "x" * 300, "C:\\x"):
        with pytest.raises(ser_cache.WrongRows):
            cache.attach(name, b"x")
        with pytest.raises(ser_cache.MissingAttachment):
            cache.attachment(name)


def test_the_package_never_unpickles():
    """No pickle, marshal, eval or numpy objects anywhere in ser_cache."""
    banned = {"pickle", "marshal", "shelve", "dill", "joblib", "eval", "exec", "allow_pickle"}
    files = sorted(Path(ser_cache.__file__).parent.rglob("*.py"))
    assert len(files) > 20
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, file.name
                continue
            names = {getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "arg", None)}
            if isinstance(node, ast.Import | ast.ImportFrom):
                names |= {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & banned, f"{file.name}: {names & banned}"


def test_several_writers_may_attach(tmp_path: Path):
    cache, other = create_cache(tmp_path / "c"), create_cache(tmp_path / "c")
    cache.attach("manifest.parquet", b"one")
    other.attach("manifest.parquet", b"two")
    assert cache.attachment("manifest.parquet") == b"two" and cache.attachments() == ("manifest.parquet",)
    with pytest.raises(ser_cache.MissingAttachment, match=r"manifest\.parquet"):
        cache.attachment("other.csv")


def test_unknown_containers_are_named(tmp_path: Path):
    cache = create_cache(tmp_path / "c")
    from made_cache import spec

    with pytest.raises(ser_cache.UnknownContainer, match="zarr, hdf5"):
        cache.writer(spec(), container="lmdb")
    writer = cache.writer(spec())
    writer.plan([Item("u000", "h")])
    writer.commit(next(writer.pending()), [Row("u000", np.zeros((2, 5), np.float16))])
    (record,) = (tmp_path / "c").glob("entries/*/commits/*/*.json")
    record.write_bytes(read_commit(record, 1, 0, 0).model_copy(update={"container": "lmdb"}).sealed())
    with pytest.raises(ser_cache.UnknownContainer, match="lmdb"):
        _read(tmp_path / "c")
