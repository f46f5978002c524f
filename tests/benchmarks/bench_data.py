"""How long do manifests of 100,000 utterances take to read, keep, check and split?

Prints seconds of wall clock and of processor time; writes only to a temporary folder.

    python tests/benchmarks/bench_data.py --rows 100000 --json runs/bench/bench_data.json
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ser_data.corpora import CORPORA
from ser_data.errors import BadFolds
from ser_data.manifest.table import Manifest
from ser_data.protocols import PROTOCOLS, drop_seen_text, make_folds, text_overlap
from ser_data.validate import validate

SCENES = [f"impro0{i}" for i in range(1, 9)] + [f"script0{i}_{j}" for i, j in ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1), (3, 2))]  # fmt: skip
RESULTS: dict[str, dict[str, float]] = {}
LABELS = ("neu", "ang", "sad", "hap", "exc", "fru", "sur")


@contextmanager
def timed(what: str) -> Iterator[None]:
    began, busy = time.perf_counter(), time.process_time()
    yield
    wall, busy = time.perf_counter() - began, time.process_time() - busy
    RESULTS[what] = {"wall_s": round(wall, 3), "cpu_s": round(busy, 3)}
    print(f"{what:<44} {wall:8.2f} s, {busy:8.2f} s of processor time")


def write(folder: Path, rows: int) -> Path:
    """A CSV of that many utterances in 50 real (empty) files, 5 sessions, 10 speakers, 15 scenarios."""
    for i in range(50):
        (folder / f"{i}.wav").write_bytes(b"x" * (i + 1))
    path = folder / "big.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("id,path,start,end,label,text,speaker,session,dialogue,scenario,fold\n")
        for i in range(rows):
            session, scene = i % 5 + 1, SCENES[i // 7 % 15]
            file.write(
                f"u{i:06d},{i % 50}.wav,{i},{i + 2.5},{LABELS[i % 7]},Words of {i % 40_000} with a tail,"
                f"{session}{'FM'[i // 3 % 2]},{session},{session}_{scene},{scene},{session}\n"
            )
    return path


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write(folder, rows)
        print(f"{rows:,} rows")
        with timed("read the CSV (every file looked up)"):
            manifest = CORPORA["csv"].read(path)
        with timed("write Parquet"):
            manifest.write(folder / "m.parquet")
        with timed("read Parquet"):
            manifest = Manifest.read(folder / "m.parquet")
        with timed("validate (reads the CSV again)"):
            validate("csv", path)
        for protocol in PROTOCOLS:
            with suppress(BadFolds), timed(f"folds: {protocol}"):  # some ask for a corpus they know, or for two corpora
                folds = make_folds(manifest, protocol)
        with timed("text overlap of 25 cells"):
            folds = make_folds(manifest, "session+scenario")
            text_overlap(manifest.table, folds)
        with timed("drop seen text in 25 cells"):
            drop_seen_text(manifest.table, folds)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=["full", "smoke"], default="full")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    main(given.rows or (100_000 if given.scale == "full" else 2_000))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(RESULTS, indent=2) + "\n")
