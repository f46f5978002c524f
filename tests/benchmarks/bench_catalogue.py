"""How does a cache behave with very many commits?

    python tests/benchmarks/bench_catalogue.py [--scale tiny|small|full] [--grow N] [--json FILE] [--folder DIR]

`full` is one entry of 1.6 million utterances in 10,000 commits (160 utterances of 5 s each: 2,222 h of speech), `small` a
tenth. The records are real ones; the features are not there, so nothing that reads them is timed. Every figure is one
measurement of a cold Python process state and a warm page cache, by the wall and in CPU seconds of the process, which mean more
on a busy machine; look-ups are the mean over random ones. The exit code is 0: it is a measurement.

`--grow N` instead asks how the cost of a writer grows: entries of N / 16, N / 4 and N commits of two utterances each, half of
them committed; what it takes to find the other half, and to ask before each commit whether another writer was first. The
exponent is the slope of log CPU seconds over log commits between the last two: 1 is a cost per commit that stays the same.
"""

import argparse
import json
import os
import platform
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser_cache import EntrySpec, Item, create_cache, open_cache
from ser_cache.format.commit import Commit
from ser_cache.format.layout import commit_path, new_data_name
from ser_cache.format.ledger import Ledger
from ser_cache.maintenance.verify import verify

SCALES = {"tiny": 20, "small": 1_000, "full": 10_000}  # commits
PER_SHARD, FRAMES, FEATURES = 160, 250, 768
LOOKUPS = 2_000
SPEC = EntrySpec(
    modality="audio",
    encoder="made/encoder",
    layer=12,
    dtype="float16",
    features=FEATURES,
    frame_rate=49.95,
    declared={},
)


@dataclass(frozen=True)
class Spent:
    """Wall and CPU seconds."""

    wall: float
    cpu: float

    def each(self, count: int) -> "Spent":
        return Spent(self.wall / count, self.cpu / count)


def timed(work: Callable[[], Any]) -> tuple[Spent, Any]:
    """What it took, and its result."""
    begin, busy = time.perf_counter(), time.process_time()
    result = work()
    return Spent(time.perf_counter() - begin, time.process_time() - busy), result


def generate(root: Path, commits: int, per_shard: int = PER_SHARD, every: int = 1) -> tuple[Spent, Spent]:
    """Plans of a made-up entry, and every so many of its commits; returns what planning took, and finding all pending shards."""
    items = [
        Item(
            f"corpus{number % 7}/speaker{number % 1999:04d}/utt{number:08d}", f"{number:032x}", 120 / per_shard, FRAMES
        )
        for number in range(commits * per_shard)
    ]
    writer = create_cache(root).writer(SPEC)
    planning, _ = timed(lambda: writer.plan(items))
    finding, shards = timed(lambda: sum(1 for _ in writer.pending()))
    assert shards == commits
    ledger = Ledger(writer.path, SPEC.fingerprint)
    ledger.refresh()
    rng = np.random.default_rng(0)
    for plan in ledger.own_plans():
        for number, shard in list(enumerate(plan.shards))[::every]:
            count = len(shard.ids)
            name = new_data_name(plan.generation, number, ".zarr")
            commit = Commit(
                generation=plan.generation,
                shard=number,
                revision=0,
                fingerprint=SPEC.fingerprint,
                container="zarr",
                path=name,
                dtype=SPEC.dtype,
                features=FEATURES,
                ids=shard.ids,
                input_hashes=shard.input_hashes,
                frames=(FRAMES,) * count,
                crc32c=tuple(int(each) for each in rng.integers(0, 2**32, count)),
                special_crc32c=None,
                files={f"{name}/values/c/0/0": (count * FRAMES * FEATURES * 2, f"{number:032x}")},
                failures={},
                left_out=(),
                environment={"versions": {"torch": "2"}, "seconds": 1.0},
                recipe="ser-extract ...",
            )
            path = commit_path(writer.path, plan.generation, number, 0)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(commit.sealed())  # no fsync: this is not the writer's benchmark
    return planning, finding


def measure(root: Path, commits: int) -> dict[str, Any]:
    """All figures."""
    figures: dict[str, Any] = {"commits": commits, "utterances": commits * PER_SHARD}
    figures["plan"], figures["find all pending shards"] = generate(root, commits)
    figures["records MB"] = sum(path.stat().st_size for path in root.rglob("*.json")) / 1e6
    figures["list commits"], _ = timed(lambda: sum(len(files) for _, _, files in os.walk(root)))
    figures["verify records"], report = timed(lambda: verify(root, data=False))
    assert not report.findings and not report.unfinished
    figures["open the entry"], entry = timed(lambda: open_cache(root).select())
    names = random.Random(0).choices(entry.ids, k=LOOKUPS)
    seconds, _ = timed(lambda: [entry.frames(name) for name in names])
    figures["one look-up in the open entry"] = seconds.each(LOOKUPS)
    figures["peak memory MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1e6 if sys.platform == "darwin" else 1e3
    )
    return figures


def grow(root: Path, most: int) -> dict[str, Any]:
    """What a writer's own bookkeeping takes, in entries of three sizes, and how it grows."""
    figures: dict[str, Any] = {}
    sizes = [max(most // share, 4) for share in (16, 4, 1)]
    spent: dict[str, list[float]] = {}
    for commits in sizes:
        place = root / str(commits)
        generate(place, commits, per_shard=2, every=2)
        writer = create_cache(place).writer(SPEC)
        resume, left = timed(lambda writer=writer: list(writer.pending()))
        assert len(left) == commits // 2
        ledger = Ledger(writer.path, SPEC.fingerprint)
        ask, _ = timed(lambda ledger=ledger, left=left: [ledger.committed((s.generation, s.number)) for s in left])
        for name, value in (("find the other half", resume), ("ask before each commit", ask)):
            figures[f"{name}, {commits:,} commits"] = value
            spent.setdefault(name, []).append(value.cpu)
    for name, values in spent.items():
        steps = np.log(sizes[-1] / sizes[-2])
        figures[f"exponent: {name}"] = float(np.log(values[-1] / values[-2]) / steps)
    return figures


def shown(value: Any) -> str:
    """A figure in the unit that fits it."""
    if isinstance(value, Spent):
        unit, factor = next(
            (unit, factor)
            for unit, factor in (("s", 1), ("ms", 1e3), ("us", 1e6))
            if value.wall * factor >= 0.1 or unit == "us"
        )
        return f"{value.wall * factor:,.2f} {unit} wall, {value.cpu * factor:,.2f} {unit} CPU"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--grow", type=int, metavar="N", help="how a writer's cost grows, up to N commits")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help="where to generate; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder) / "cache"
        figures = grow(root, options.grow) if options.grow else measure(root, SCALES[options.scale])
    figures |= {"machine": platform.platform(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    for name, value in figures.items():
        print(f"{name:44} {shown(value)}")
    if options.json:
        plain = {name: asdict(value) if isinstance(value, Spent) else value for name, value in figures.items()}
        options.json.write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
