"""One plain Zarr v3 group per shard: the default, friendly to object stores and to other languages.

``values`` is one shard file with inner chunks of 1,024 rows, bytes codec only, empty chunks written; so the rows lie in
one piece and can be mapped. That is how zarr-python writes, not a promise of Zarr: the reader compares the shard's own
index with it before it maps, and reads through zarr-python otherwise.
"""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ser_cache.containers.base import Content, Expected, Written, ids_from_bytes, ids_to_bytes
from ser_cache.errors import Damaged, Unsafe
from ser_cache.format.seal import read_bytes

if TYPE_CHECKING:
    import zarr  # takes as long to load as a short clip to encode, and most commands only read mapped rows

INNER_ROWS = 1024
_CODECS = frozenset({"bytes", "crc32c", "sharding_indexed"})  # none of them runs code or can inflate
_TYPES = {"float16": "<f2", "float32": "<f4", "int64": "<i8", "uint8": "|u1"}
_METADATA_LIMIT = 1 << 20


class ZarrShard:
    """One open group."""

    def __init__(self, path: Path, expected: Expected) -> None:
        self._path, self._expected = path, expected
        group = self._metadata("zarr.json")
        if group.get("node_type") != "group" or group.get("zarr_format") != 3:
            raise Damaged(f"{path}/zarr.json", "it is not a Zarr v3 group")
        frames, features = expected.frames, expected.features
        self._arrays = {
            "values": self._array("values", (frames, features), expected.dtype),
            "offsets": self._array("offsets", (expected.rows + 1,), "int64"),
            "ids": self._array("ids", None, "uint8"),
        }
        if expected.special:
            self._arrays["special"] = self._array("special", (frames,), "uint8")
        self._place = self._locate()

    def _metadata(self, name: str) -> dict[str, Any]:
        if name not in self._expected.files:
            raise Damaged(f"{self._path}/{name}", "the commit does not list it")
        data = read_bytes(self._path / name, _METADATA_LIMIT)
        try:
            record = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Damaged(f"{self._path}/{name}", f"it is not JSON ({error})") from error
        if not isinstance(record, dict):
            raise Damaged(f"{self._path}/{name}", "it is not a JSON object")
        return record

    def _array(self, name: str, shape: tuple[int, ...] | None, dtype: str) -> dict[str, Any]:
        where = f"{self._path}/{name}/zarr.json"
        record = self._metadata(f"{name}/zarr.json")
        declared = tuple(record["shape"])
        if record["node_type"] != "array" or record["data_type"] != dtype or (shape is not None and declared != shape):
            raise Unsafe(where, f"it declares {declared} {record['data_type']}, the commit says {shape} {dtype}")
        if len(declared) > 2 or record.get("storage_transformers"):
            raise Unsafe(where, "it has more than two dimensions or a storage transformer")
        if record["chunk_grid"]["name"] != "regular" or record["chunk_key_encoding"]["name"] != "default":
            raise Unsafe(where, "its chunk grid is not the regular one")
        held = sum(size for file, size in self._expected.files.items() if file.startswith(f"{name}/c"))
        itemsize = np.dtype(_TYPES[dtype]).itemsize
        chunks = [record["chunk_grid"]["configuration"]["chunk_shape"], *_check_codecs(record["codecs"], where)]
        for chunk in (declared, *chunks):
            size = math.prod(int(each) for each in chunk) * itemsize
            if (
                len(chunk) != len(declared)
                or min(chunk, default=1) < min(1, *declared)
                or (size > held and 0 not in declared)
            ):
                raise Unsafe(where, f"it declares {tuple(chunk)} values and its files have {held:,} bytes")
        return record

    def located(self) -> tuple[Path, int] | None:
        return self._place

    def _locate(self) -> tuple[Path, int] | None:
        record, rows, width = self._arrays["values"], self._expected.frames, self._expected.features
        shard = record["chunk_grid"]["configuration"]["chunk_shape"]
        codecs = record["codecs"]
        if not rows or len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed":
            return None
        settings = codecs[0]["configuration"]
        inner = settings["chunk_shape"]
        plain = [{"name": "bytes", "configuration": {"endian": "little"}}]
        if settings["codecs"] != plain or settings["index_codecs"] != [*plain, {"name": "crc32c"}]:
            return None
        if settings.get("index_location", "end") != "end" or inner[1] != width or shard[1] != width or shard[0] < rows:
            return None
        file = self._path / "values" / "c" / "0" / "0"
        chunks, tail = shard[0] // inner[0], 16 * (shard[0] // inner[0]) + 4
        size = self._expected.files.get("values/c/0/0", 0)
        if size < tail:
            return None
        with open(file, "rb") as handle:
            handle.seek(size - tail)
            index = handle.read(tail)
        if google_crc32c.value(index[:-4]) != int.from_bytes(index[-4:], "little"):
            return None
        offset, nbytes = np.frombuffer(index[:-4], dtype="<u8").reshape(chunks, 2).T
        used, step = -(-rows // inner[0]), inner[0] * width * self._expected.itemsize
        # the offsets themselves, not their spacing: an absent chunk moves all later ones up
        if (nbytes[:used] != step).any() or (offset[:used] != np.arange(used, dtype=np.uint64) * np.uint64(step)).any():
            return None
        return (file, 0) if used * step + tail <= size else None

    def _open(self, name: str) -> Any:
        try:
            import zarr

            return zarr.open_array(self._path / name, mode="r", zarr_format=3)
        except Exception as error:  # zarr raises many kinds, all of them mean the same here
            raise Damaged(f"{self._path}/{name}", f"zarr cannot open it ({error!r})") from error

    def _small(self, name: str) -> NDArray[Any]:
        """A whole array of one dimension: the bytes of its chunk, if its metadata prove that it is one plain chunk.

        Else through zarr-python, whose event loop costs more than all the rest of a small shard.
        """
        record = self._arrays[name]
        dtype, codecs, keys = np.dtype(_TYPES[record["data_type"]]), record["codecs"], record["chunk_key_encoding"]
        layouts = [codec.get("configuration") for codec in codecs if codec["name"] == "bytes"]
        if (
            len(codecs) == len(layouts) == 1
            and (dtype.itemsize == 1 or layouts[0] == {"endian": "little"})
            and record["chunk_grid"]["configuration"]["chunk_shape"] == record["shape"]
            and keys.get("configuration", {"separator": "/"}) == {"separator": "/"}
            and self._expected.files.get(f"{name}/c/0") == record["shape"][0] * dtype.itemsize
        ):
            return np.frombuffer(read_bytes(self._path / name / "c" / "0"), dtype)
        return self._read(name)

    def _read(self, name: str, start: int | None = None, stop: int | None = None) -> NDArray[Any]:
        array = self._open(name)
        try:
            return np.asarray(array[start:stop])
        except Exception as error:
            raise Damaged(f"{self._path}/{name}", f"zarr cannot read it ({error!r})") from error

    def values(self, start: int, stop: int) -> NDArray[np.floating]:
        return self._read("values", start, stop)

    def special(self) -> NDArray[np.bool_] | None:
        return self._small("special").astype(np.bool_) if self._expected.special else None

    def offsets(self) -> NDArray[np.int64]:
        return self._small("offsets").astype(np.int64)

    def ids(self) -> tuple[str, ...]:
        return ids_from_bytes(self._small("ids"))


def _check_codecs(codecs: list[dict[str, Any]], where: str) -> list[list[int]]:
    """Refuses codecs outside of the allow-list; returns the chunk shapes of nested ones."""
    chunks = []
    for codec in codecs:
        if codec["name"] not in _CODECS:
            raise Unsafe(where, f"the codec {str(codec['name'])[:40]!r} is not one of {', '.join(sorted(_CODECS))}")
        settings = codec.get("configuration", {})
        if codec["name"] == "sharding_indexed":
            chunks.append(settings["chunk_shape"])
            for inner in (settings["codecs"], settings["index_codecs"]):
                if any(each["name"] == "sharding_indexed" for each in inner):
                    raise Unsafe(where, "it nests shards in shards")
                _check_codecs(inner, where)
    return chunks


class ZarrContainer:
    """The container ``zarr``."""

    suffix = ".zarr"

    def write(self, path: Path, content: Content) -> dict[str, str]:
        # zarr-python makes metadata and small arrays in memory, and the files are created here: its own store needs
        # hard links to create a file exclusively, and not every file system has them
        import zarr
        from zarr.storage import MemoryStore

        files: dict[str, Any] = {}
        store = MemoryStore(files)
        group = zarr.create_group(store, zarr_format=3, attributes=dict(content.attributes))
        frames, features = content.shape
        inner = min(INNER_ROWS, max(frames, 1))
        group.create_array(
            "values",
            shape=content.shape,
            dtype=content.dtype.newbyteorder("<"),
            chunks=(inner, features),
            shards=(max(-(-frames // inner), 1) * inner, features),
            filters=None,
            compressors=None,
            fill_value=float("nan"),  # a lost chunk must never look like plausible zeros
            config={"write_empty_chunks": True},
        )
        _small(group, "offsets", content.offsets.astype("<i8"), -1)
        _small(group, "ids", ids_to_bytes(content.ids), 0)
        if content.special is not None:
            _small(group, "special", content.special.astype("u1"), 255)
        path.mkdir()
        for name, held in files.items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with open(file, "xb") as handle:
                handle.write(held.to_bytes())
        return {"values/c/0/0": _write_shard(path / "values/c/0/0", content, inner)} if frames else {}

    def open(self, path: Path, expected: Expected) -> ZarrShard:
        try:
            return ZarrShard(path, expected)
        except FileNotFoundError as error:
            raise Damaged(str(path), f"a file is gone ({error.filename})") from error
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
            if isinstance(error, (Damaged, Unsafe)):
                raise
            raise Damaged(str(path), f"its metadata are wrong ({error!r})") from error


def _write_shard(path: Path, content: Content, inner: int) -> str:
    """The one shard file of ``values``, byte for byte as zarr-python 3.1 writes it (a test compares them); its xxh3-128.

    By hand, because zarr-python copies the array on the way: a profile showed 0.14 against 0.03 s for a shard of 61 MB
    before the fsync. The layout is that of the Zarr v3 sharding codec: inner chunks of full size, the last one padded
    with the fill value, then the index of (offset, bytes) as little-endian u64 and its CRC-32C.
    """
    frames, features = content.shape
    chunks, step = -(-frames // inner), inner * features * content.dtype.itemsize
    index = np.empty((chunks, 2), dtype="<u8")
    index[:, 0] = np.arange(chunks, dtype=np.uint64) * np.uint64(step)
    index[:, 1] = step
    padding = np.full((chunks * inner - frames, features), np.nan, dtype=content.dtype)
    path.parent.mkdir(parents=True)
    crc = np.array([google_crc32c.value(index)], "<u4")
    with open(path, "xb", buffering=0) as file:
        written = Written(file)
        written.rows(content)
        for part in (padding, index, crc):
            written.add(part)
    return written.digest.hexdigest()


def _small(group: "zarr.Group", name: str, data: NDArray[Any], fill: int) -> None:
    array = group.create_array(
        name,
        shape=data.shape,
        dtype=data.dtype,
        chunks=(max(len(data), 1),),
        filters=None,
        compressors=None,
        fill_value=fill,
        config={"write_empty_chunks": True},
    )
    if len(data):
        array[:] = data
