"""How fast is the feature cache, against what else one could use?

    python tests/benchmarks/bench_cache.py [--scale tiny|small|full] [--json FILE] [--only NAME ...]

Features have the shape of IEMOCAP (durations log-normal, 4.5 s in the mean, 768 x float16 at 49.95 frames a second);
`full` is 5,531 utterances (2.6 GB and as much again for each rival), `small` a tenth. A read is a copy into the
caller's reused buffer. Contestants take turns within each round (the order moves on by one), caches are warm, figures
are medians over the rounds. `datasets` and `lhotse` take part if they can be imported.
The exit code is 0 whether gates are met or not: it is a measurement.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from cache_rivals import hf_datasets, lhotse_hdf5, npy_files

from ser_cache import Entry, EntrySpec, Item, Row, create_cache, open_cache
from ser_fusion.frames.features import Arena, read_stream

FEATURES, RATE = 768, 49.95
SCALES = {"tiny": (24, 2, 8), "small": (553, 9, 200), "full": (5531, 9, 1000)}  # utterances, rounds, reads a round
Contestant = Callable[[], Any]


class Clock:
    """Wall and CPU seconds of a block."""

    def __enter__(self) -> Self:
        gc.collect()
        self._begin = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._begin[0]
        self.cpu = time.process_time() - self._begin[1]


class Times(dict[str, float]):
    """Median wall seconds by name; ``cpu`` has the median CPU seconds, which a busy machine disturbs less."""

    def __init__(self, clocks: dict[str, list[Clock]]) -> None:
        super().__init__({name: statistics.median(each.wall for each in values) for name, values in clocks.items()})
        self.cpu = {name: statistics.median(each.cpu for each in values) for name, values in clocks.items()}


def rounds(contestants: dict[str, Contestant], count: int) -> Times:
    """Times each contestant; they take turns, each round begins with another one."""
    names = list(contestants)
    clocks: dict[str, list[Clock]] = {name: [] for name in names}
    for name in names:
        contestants[name]()  # warm
    for number in range(count):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            with Clock() as clock:
                contestants[name]()
            clocks[name].append(clock)
    return Times(clocks)


class Bench:
    """Data, stores and results of one run."""

    def __init__(self, folder: Path, scale: str) -> None:
        self.folder, self.features = folder, FEATURES
        self.utterances, self.rounds, self.reads = SCALES[scale]
        self.rng = np.random.default_rng(7)
        seconds = np.clip(self.rng.lognormal(1.3, 0.6, self.utterances), 0.6, 34.0)
        self.ids = [f"Ses{number:05d}" for number in range(self.utterances)]
        self.frames = np.maximum(1, (seconds * RATE).astype(int) - 1)
        self.pool = self.rng.standard_normal((int(self.frames.max()) + 997, FEATURES)).astype(np.float16)
        self.results: list[dict[str, Any]] = []
        self.gates: list[dict[str, Any]] = []

    def row(self, number: int) -> np.ndarray:
        """The frames of an utterance: a window of one pool of noise, another one for each utterance."""
        start = number * 37 % 997
        return self.pool[start : start + self.frames[number]]

    @property
    def size(self) -> int:
        """Bytes of all rows."""
        return int(self.frames.sum()) * FEATURES * 2

    def spec(self) -> EntrySpec:
        return EntrySpec(
            modality="audio", encoder="bench", layer=12, dtype="float16", features=FEATURES, frame_rate=RATE
        )

    def build(self, container: str) -> Path:
        path = self.folder / container
        writer = create_cache(path).writer(self.spec(), container=container)
        writer.plan(Item(name, name, 0.0, int(frames)) for name, frames in zip(self.ids, self.frames, strict=True))
        index = {name: number for number, name in enumerate(self.ids)}
        for shard in writer.pending():
            writer.commit(shard, [Row(item.id, self.row(index[item.id])) for item in shard.items])
        return path

    def note(self, what: str, seconds: Times, unit: str, amount: float) -> None:
        """Records throughput: ``amount`` units in each contestant's seconds."""
        for name, value in seconds.items():
            cpu = seconds.cpu[name]
            result = {"what": what, "name": name, "seconds": value, "cpu_seconds": cpu, "value": amount / value}
            self.results.append({**result, "unit": unit})
            print(
                f"  {name:46s} {value * 1e3:9.2f} ms ({cpu * 1e3:8.2f} CPU) {amount / value:9,.0f} {unit}", flush=True
            )

    def gate(self, what: str, seconds: Times, ours: str, rival: str, bound: float, slower: bool = False) -> None:
        """Records one gate: rival's seconds over ours, at least ``bound``.

        Or ours over rival's, at most ``bound`` (``slower``).
        """
        upper, lower = (ours, rival) if slower else (rival, ours)
        value, cpu = seconds[upper] / seconds[lower], seconds.cpu[upper] / max(seconds.cpu[lower], 1e-9)
        met = value <= bound if slower else value >= bound
        self.gates.append({"gate": what, "value": value, "cpu_value": cpu, "bound": bound, "met": bool(met)})
        sign = "<=" if slower else ">="
        word = "met   " if met else "MISSED"
        print(f"  GATE {word} {what}: {value:.2f} (wanted {sign} {bound}; by CPU time {cpu:.2f})", flush=True)


def places(entry: Entry, container: str) -> dict[str, tuple[Any, int, int]]:
    """id -> (open array of the container's own library, first row, last row).

    Found through the containers' own ids and offsets.
    """
    found: dict[str, tuple[Any, int, int]] = {}
    for data in sorted((entry.path / "data").iterdir()):
        if container == "zarr":
            import zarr

            group = zarr.open_group(data, mode="r")
        else:
            import h5py

            group = h5py.File(data, "r")
        offsets = group["offsets"][:]
        for number, name in enumerate(json.loads(bytes(group["ids"][:]))):
            found[name] = (group["values"], int(offsets[number]), int(offsets[number + 1]))
    return found


def bench_random(bench: Bench) -> None:
    """Random utterances, each copied into one reused buffer."""
    print(f"random reads of {bench.reads} utterances")
    chosen = [bench.ids[number] for number in bench.rng.integers(0, bench.utterances, bench.reads)]
    buffer = np.empty((int(bench.frames.max()), FEATURES), np.float16)
    contestants: dict[str, Contestant] = {}
    for container in ("zarr", "hdf5"):
        cache = open_cache(bench.folder / container)
        entry = cache.select()
        plain = open_cache(bench.folder / container, verify_reads=False).select()
        own = places(entry, container)

        def ours(entry: Entry = entry) -> None:
            for name in chosen:
                entry.read(name, buffer)

        def first(entry: Entry = entry) -> None:
            entry._unchecked[:] = b"\1" * len(entry)  # as if nothing had been read yet
            for name in chosen:
                entry.read(name, buffer)

        def unverified(entry: Entry = plain) -> None:
            for name in chosen:
                entry.read(name, buffer)

        def library(own: dict[str, Any] = own, container: str = container) -> None:
            for name in chosen:
                array, start, stop = own[name]
                if container == "zarr":
                    buffer[: stop - start] = array[start:stop]
                else:
                    array.read_direct(buffer, np.s_[start:stop], np.s_[: stop - start])

        contestants[f"ser_cache {container}, checksum off"] = unverified
        contestants[f"ser_cache {container}, checksum on"] = ours
        contestants[f"ser_cache {container}, checksum on, first reads"] = first
        contestants["zarr-python, same store" if container == "zarr" else "h5py, same file"] = library
    contestants["npy files"] = npy_files(bench, chosen, buffer)
    for name, maker in (("datasets", hf_datasets), ("lhotse, NumpyHdf5", lhotse_hdf5)):
        with suppress(ImportError):
            contestants[name] = maker(bench, chosen, buffer)
    seconds = rounds(contestants, bench.rounds)
    bench.note("random", seconds, "utterances/s", bench.reads)
    for state in ("off", "on", "on, first reads"):
        for container, rival, bound in (("zarr", "zarr-python, same store", 40.0), ("hdf5", "h5py, same file", 3.0)):
            ours = f"ser_cache {container}, checksum {state}"
            bench.gate(f"random reads, {container} against {rival}, checksum {state}", seconds, ours, rival, bound)


def bench_gather(bench: Bench) -> None:
    """Batches of 32 into one reused buffer, against one memcpy of as many bytes."""
    batches = [
        [bench.ids[each] for each in bench.rng.integers(0, bench.utterances, 32)]
        for _ in range(max(bench.reads // 16, 2))
    ]
    length = dict(zip(bench.ids, bench.frames.tolist(), strict=True))
    most = max(sum(length[name] for name in batch) for batch in batches)
    total = sum(length[name] for batch in batches for name in batch)
    print(f"gather of {len(batches)} batches of 32 utterances, {total * FEATURES * 2 / 1e6:.0f} MB")
    buffer = np.empty((most, FEATURES), np.float16)
    # as much memory as the rows themselves, so that it is no better cached than they are
    source = np.empty((int(bench.frames.sum()), FEATURES), np.float16)
    source[:] = 1
    starts = [int(each) for each in bench.rng.integers(0, max(len(source) - most, 1), len(batches))]
    contestants: dict[str, Contestant] = {}
    for container in ("zarr", "hdf5"):
        entry = open_cache(bench.folder / container).select()
        contestants[f"ser_cache {container}"] = lambda entry=entry: [entry.gather(batch, buffer) for batch in batches]

    def memcpy() -> None:
        for start, batch in zip(starts, batches, strict=True):
            size = min(sum(length[name] for name in batch), len(source) - start)
            np.copyto(buffer[:size], source[start : start + size])

    contestants["memcpy"] = memcpy
    seconds = rounds(contestants, bench.rounds)
    bench.note("gather", seconds, "MB/s", total * FEATURES * 2 / 1e6)
    for container in ("zarr", "hdf5"):
        bench.gate(f"gather, {container} against memcpy", seconds, f"ser_cache {container}", "memcpy", 0.85)


def bench_load(bench: Bench) -> None:
    """The whole entry as stage two loads it for training, against the same frames and moments from a raw read of the files."""
    print(f"whole entry into memory, {bench.size / 1e6:.0f} MB")
    contestants: dict[str, Contestant] = {}
    for container in ("zarr", "hdf5"):
        files = [
            path for path in (bench.folder / container).rglob("*") if path.is_file() and path.stat().st_size > 1_000_000
        ] or [path for path in (bench.folder / container).rglob("data/*") if path.is_file()]

        def raw(files: list[Path] = files) -> None:
            for path in files:
                with open(path, "rb", buffering=0) as file:
                    left = np.empty(path.stat().st_size, np.uint8).data
                    while count := file.readinto(left):
                        left = left[count:]
            for number in range(bench.utterances):
                frames = bench.row(number).astype(np.float32)
                frames.mean(0), frames.var(0)

        def load(container: str = container, verify: bool = True) -> None:
            entry = open_cache(bench.folder / container, verify_reads=verify).select()
            arena = Arena()
            read_stream([entry], entry.ids, allocate=arena.allocate)
            arena.close()

        contestants[f"raw read and moments, {container}"] = raw
        contestants[f"loader of ser-fuse {container}, checksum on"] = load
        contestants[f"loader of ser-fuse {container}, checksum off"] = lambda load=load: load(verify=False)
    seconds = rounds(contestants, max(bench.rounds // 2, 2))
    bench.note("load", seconds, "MB/s", bench.size / 1e6)
    for container in ("zarr", "hdf5"):
        for state in ("on", "off"):
            ours, rival = f"loader of ser-fuse {container}, checksum {state}", f"raw read and moments, {container}"
            bench.gate(
                f"whole entry, {container} against {rival}, checksum {state}", seconds, ours, rival, 1.5, slower=True
            )


def bench_write(bench: Bench) -> None:
    """One shard of 64 MB with the full protocol, against plain write and fsync of the same bytes."""
    rows = min(bench.utterances, 8 if bench.utterances < 100 else 180)
    values = [bench.row(number) for number in range(rows)]
    size = sum(each.nbytes for each in values)
    print(f"writing a shard of {size / 1e6:.0f} MB")
    count = iter(range(1_000_000))
    shards: dict[str, Any] = {}
    items = [Item(f"{number:04d}", "h", 0.0, len(each)) for number, each in enumerate(values)]

    def plain() -> None:
        path = bench.folder / f"plain-{next(count)}"
        with open(path, "xb", buffering=0) as file:
            file.writelines(values)
            os.fsync(file.fileno())
        directory = os.open(bench.folder, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def prepare(container: str) -> Any:
        writer = create_cache(bench.folder / f"write-{container}-{next(count)}").writer(
            bench.spec(), container=container
        )
        writer.plan(items)
        return writer, next(writer.pending())

    clocks: dict[str, list[Clock]] = {"plain write and fsync": [], "ser_cache hdf5": [], "ser_cache zarr": []}
    for number in range(bench.rounds + 1):
        for container in ("hdf5", "zarr"):
            shards[container] = prepare(container)
        names = list(clocks)
        for name in names[number % 3 :] + names[: number % 3]:
            with Clock() as clock:
                if name.startswith("plain"):
                    plain()
                else:
                    writer, shard = shards[name.split()[1]]
                    writer.commit(shard, [Row(item.id, each) for item, each in zip(shard.items, values, strict=True)])
            if number:  # the first round warms up
                clocks[name].append(clock)
    seconds = Times(clocks)
    bench.note("write", seconds, "MB/s", size / 1e6)
    for container, bound in (("hdf5", 0.8), ("zarr", 0.6)):
        rival = "plain write and fsync"
        bench.gate(f"writing, {container} against {rival}", seconds, f"ser_cache {container}", rival, bound)


PARTS: dict[str, Callable[[Bench], None]] = {
    "random": bench_random,
    "gather": bench_gather,
    "load": bench_load,
    "write": bench_write,
}


def run(scale: str, only: list[str], folder: Path | None = None) -> dict[str, Any]:
    """Runs the parts; returns what ``--json`` writes."""
    with tempfile.TemporaryDirectory(prefix="ser-bench-", dir=folder) as scratch:
        bench = Bench(Path(scratch), scale)
        print(f"{bench.utterances} utterances, {bench.size / 1e6:.0f} MB, load average {os.getloadavg()[0]:.1f}")
        for container in ("zarr", "hdf5"):
            if set(only) & {"random", "gather", "load"}:
                bench.build(container)
        for name in only:
            PARTS[name](bench)
    return {
        "scale": scale,
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "load": os.getloadavg(),
        "results": bench.results,
        "gates": bench.gates,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--folder", type=Path, help="where to write (default: the folder for temporary files)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    report = run(options.scale, options.only, options.folder)
    missed = sum(not gate["met"] for gate in report["gates"])
    print(f"{len(report['gates']) - missed} of {len(report['gates'])} gates met")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    sys.exit(main())
