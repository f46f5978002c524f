"""Small caches made of numbers that follow from the utterance's id and input hash, so that any wrong byte is noticed.

Used by the tests of the cache and by the crash suite; `in_child` runs a function in a forked process that may be
killed.
"""

import mmap
import os
import shutil
import signal
import sys
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ser_cache import Cache, Entry, EntrySpec, Failure, Item, Row, create_cache, open_cache
from ser_cache.format.ledger import Ledger

CONTAINERS = ("zarr", "hdf5")
RECIPE = "ser-extract --corpus made --cache CACHE"


def spec(**changes: Any) -> EntrySpec:
    """The entry of most tests: 5 features of float16."""
    fields: dict[str, Any] = {
        "modality": "audio",
        "encoder": "made/encoder",
        "layer": 3,
        "dtype": "float16",
        "features": 5,
        "frame_rate": 49.95,
        "declared": {"weights": "xxh3:00", "rate": 16000, "windowing": {"seconds": 30}},
    }
    return EntrySpec(**{**fields, **changes})


def items(count: int, per_shard: int = 4, version: str = "a") -> list[Item]:
    """Utterances u000, u001, ...; a shard holds ``per_shard`` of them."""
    return [Item(f"u{number:03d}", f"{version}-{number}", 120.0 / per_shard, 4) for number in range(count)]


def values(item: Item, dtype: str = "float16", features: int = 5) -> np.ndarray:
    """Frames of an utterance: 0 to 8 rows of noise seeded by its id and input hash."""
    rng = np.random.default_rng(zlib.crc32(f"{item.id}|{item.input_hash}".encode()))
    return rng.standard_normal((int(rng.integers(0, 9)), features)).astype(dtype)


def special(item: Item) -> np.ndarray | None:
    """Mask of special tokens: first and last frame, for every third utterance."""
    frames = len(values(item))
    if int(item.input_hash.split("-")[-1]) % 3:
        return None
    return np.isin(np.arange(frames), (0, frames - 1))


def fails(item: Item) -> bool:
    """Whether this utterance cannot be computed: u007, u017, ... of version a."""
    return item.id.endswith("7") and item.input_hash.startswith("a-")


def write(
    root: Path,
    wanted: Iterable[Item],
    container: str = "zarr",
    *,
    shards: int | None = None,
    acknowledge: Callable[[list[str]], None] = lambda ids: None,
    retry_failed: bool = False,
    entry: EntrySpec | None = None,
    replace: bool = False,
) -> Cache:
    """What an extraction does: plan, then compute and commit what is pending (``shards`` of them at most)."""
    cache = create_cache(root)
    entry = entry or spec()
    writer = cache.writer(entry, container=container, recipe=RECIPE, replace=replace)
    writer.plan(wanted)
    for number, shard in enumerate(writer.pending(retry_failed)):
        if shards is not None and number >= shards:
            break
        good = [item for item in shard.items if not fails(item)]
        rows = [Row(item.id, values(item, entry.dtype, entry.features), special(item)) for item in good]
        bad = {item.id: Failure("nan", "made to fail") for item in shard.items if fails(item)}
        writer.commit(shard, rows, bad, {"pid": os.getpid()})
        acknowledge([item.id for item in shard.items])
    return cache


def state(root: Path, verify_reads: bool = True) -> dict[str, Any]:
    """Everything that must be equal after whatever happened: ids, hashes, values, masks, checksums, failures."""
    entry = open_cache(root, verify_reads).select()
    found: dict[str, Any] = {
        "fingerprint": entry.fingerprint,
        "failures": dict(entry.failures),
        "missing": entry.missing,
    }
    ledger = Ledger.read(entry.path, entry.fingerprint)
    crcs = {
        (name, input_hash): crc
        for commit in ledger.commits.values()
        for name, input_hash, crc in zip(commit.ids, commit.input_hashes, commit.crc32c, strict=True)
    }
    for name in entry.ids:
        mask = entry.special(name)
        given = None if mask is None or not mask.any() else mask.tobytes()
        row = entry[name]
        found[name] = (row.tobytes(), row.shape, given, entry.input_hashes[name], crcs[name, entry.input_hashes[name]])
    return found


def assert_right(entry: Entry, wanted: Iterable[Item]) -> None:
    """Every visible row is one that was wanted, whole and with the right numbers."""
    by_id = {item.id: item for item in wanted}
    for name in entry.ids:
        item = by_id[name]
        assert entry.input_hashes[name] == item.input_hash
        expected = values(item, entry.spec.dtype, entry.spec.features)
        assert entry[name].tobytes() == expected.tobytes(), name
        assert entry.frames(name) == len(expected)


def in_child(function: Callable[[], None]) -> int:
    """Runs ``function`` in a forked process; returns its exit code, negative for a signal."""
    pid = start_child(function)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def start_child(function: Callable[[], None]) -> int:
    """Starts ``function`` in a forked process; returns its pid. Exit code 0, or 1 with the traceback on stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        function()
        code = 0
    except BaseException:  # noqa: BLE001  a forked child must never return into pytest
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def calls(function: Any, during: Callable[[], Any] | None = None) -> Iterator[list[str]]:
    """Names of the calls of a function while the block runs; ``during`` is called in the first of them, before its body."""
    seen: list[str] = []

    def look(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is getattr(function, "__code__", None):
            seen.append(frame.f_code.co_name)
        elif event == "c_call" and argument is function:
            seen.append(function.__name__)
        else:
            return
        if during is not None and len(seen) == 1:
            sys.setprofile(None)
            during()
            sys.setprofile(look)

    sys.setprofile(look)
    try:
        yield seen
    finally:
        sys.setprofile(None)


def worker_reads(entry: Entry, queue: Any) -> None:
    """Target of a worker process: what it sees of an entry."""
    queue.put((entry.ids, entry.gather(entry.ids).values.tobytes()))


def mapped(entry: Entry) -> bool:
    """Whether every row with frames is a view of mapped memory."""

    def root(view: Any) -> Any:
        while isinstance(view, np.ndarray) and view.base is not None:
            view = view.base
        return view.obj if isinstance(view, memoryview) else view

    return all(isinstance(root(view), mmap.mmap) for _, view in entry.scan() if len(view))


def copy(source: Path, target: Path) -> Path:
    """A fresh copy of a cache, links kept as links."""
    shutil.copytree(source, target, symlinks=True)
    return target


def data_files(root: Path) -> list[Path]:
    """Every regular file of a cache, sorted."""
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
