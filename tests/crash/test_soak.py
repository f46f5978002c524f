"""A long extraction whose workers are killed at random: it must go on, stay small, and be right.

One `ser-extract` with two workers lives through all of it. Seconds by default, an hour with `make crash` (SER_SOAK_SECONDS
says otherwise). At the end: every commit is verified and every row equals that of an undisturbed run, and neither the memory
nor the open files of the parent grew, nor the memory of the workers.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_cache import open_cache
from ser_cache.maintenance.verify import verify

PROGRAM = """
import sys
import ser_cache.format.plan
if __name__ == "__main__":  # a worker imports this file as well
    ser_cache.format.plan.SHARD_ITEMS = 8
    from ser_extract.cli import command as main
    main()
"""
VOICES = 24
HOUR = float(os.environ.get("SER_SOAK_SECONDS", "3600"))
SLACK = 32.0  # MiB: what the allocator and a longer shard may add


@dataclass
class Watched:
    """What was seen of the parent and of its workers, in the order of time."""

    files: list[int] = field(default_factory=list)
    parent: list[float] = field(default_factory=list)
    workers: list[float] = field(default_factory=list)
    kills: int = 0
    commits: int = 0

    def look(self, pid: int) -> list[int]:
        """Notes memory (MiB) and open files; returns the workers that are there."""
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            self.files.append(len(os.listdir(f"/proc/{pid}/fd")))
            self.parent.append(memory(pid))
        found = list(workers(pid))
        for each in found:
            with suppress(FileNotFoundError, ProcessLookupError):
                self.workers.append(memory(each))
        return found


def memory(pid: int) -> float:
    """Memory of its own in MiB; not the pages of libraries, of which a process that ends touches many more."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


def workers(pid: int) -> Iterator[int]:
    """Processes of the pool: children of the server that forks them, which is a child of the run."""
    for child in children(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"multiprocessing.forkserver" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield from children(child)


def children(pid: int) -> list[int]:
    """Children of a process's main thread."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def make_corpus(folder: Path, utterances: int, longest: float) -> Path:
    """A CSV in which `utterances` ids share a few recordings of 0.5 to `longest` seconds."""
    chance = np.random.default_rng(0)
    for k in range(VOICES):
        seconds = chance.uniform(0.5, longest)
        soundfile.write(folder / f"{k}.wav", 0.1 * chance.standard_normal(int(seconds * 16_000)), 16_000)
    rows = [f"u{number:06d},{number % VOICES}.wav,x" for number in range(utterances)]
    (folder / "corpus.csv").write_text("\n".join(["id,path,label", *rows]) + "\n")
    return folder / "corpus.csv"


def commits(cache: Path) -> int:
    return len(list(cache.glob("entries/*/commits/*/*.json")))


def soak(process: "subprocess.Popen[str]", cache: Path, until: float, kills: int | None, pause: float) -> Watched:
    """Kills a worker, again and again, up to `pause` seconds after two more shards are there; stops the run when time is up."""
    chance, seen, stopped = random.Random(8), Watched(), False
    goal, moment = 2, 0.0  # commits, and the time after them, before the next kill
    while process.poll() is None:
        found = seen.look(process.pid)
        seen.commits = commits(cache)
        if time.monotonic() > until and not stopped:
            process.send_signal(signal.SIGINT)  # the shards in hand are finished
            stopped = True
        if seen.commits < goal or stopped or seen.kills == kills:
            moment = time.monotonic() + chance.uniform(0, pause)
        elif found and time.monotonic() > moment:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(found), signal.SIGKILL)
                seen.kills += 1
            goal = seen.commits + 2
        time.sleep(min(0.2, pause + 0.02))
    seen.commits = commits(cache)  # the last ones may have come after the last look
    return seen


def grown(values: list[float]) -> float:
    """Largest value of the last quarter minus that of the second quarter: the first one warms up."""
    quarter = len(values) // 4
    return max(values[-quarter:]) - max(values[quarter : 2 * quarter])


def run(
    encoders: tuple[Path, Path],
    tmp_path: Path,
    utterances: int,
    longest: float,
    seconds: float,
    kills: int | None = None,
    pause: float = 2.0,
) -> Watched:
    root, cache = make_corpus(tmp_path, utterances, longest), tmp_path / "cache"
    (tmp_path / "program.py").write_text(PROGRAM)
    common = [sys.executable, str(tmp_path / "program.py"), "--corpus", "csv", "--root", str(root), "--device", "cpu"]
    common += ["--modalities", "audio", "--audio-encoder", str(encoders[0]), "--audio-layer", "1"]
    calm = [*common, "--cache", str(tmp_path / "calm"), "--limit", str(VOICES), "--workers", "0"]
    assert subprocess.run(calm, check=False, capture_output=True).returncode == 0
    with (tmp_path / "told").open("w") as told:
        process = subprocess.Popen(
            [*common, "--cache", str(cache), "--workers", "2"], stdout=told, stderr=told, text=True
        )
        seen = soak(process, cache, time.monotonic() + seconds, kills, pause)
    said = (tmp_path / "told").read_text()
    assert process.returncode in (0, 130, 3), said  # 3: a killer can hit one utterance three times
    report = verify(cache)
    assert not report.findings
    entry, expected = open_cache(cache).select(), open_cache(tmp_path / "calm").select()
    assert all(failure.reason == "encoder_crash" for failure in entry.failures.values())
    assert len(entry.failures) <= seen.kills // 3
    assert len(entry) + len(entry.failures) + len(entry.missing) == utterances
    assert process.returncode == 130 or not entry.missing
    for name, values in entry.scan():
        right = expected[f"u{int(name[1:]) % VOICES:06d}"].astype(np.float32)
        error = np.linalg.norm(values.astype(np.float32) - right) / np.linalg.norm(right)
        assert values.shape == right.shape and error < 1e-3, name
    return seen


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="open files and memory are read from /proc")
def test_workers_killed_while_it_runs(encoders: tuple[Path, Path], tmp_path: Path) -> None:
    seen = run(encoders, tmp_path, utterances=240, longest=2.0, seconds=1800, kills=2, pause=0.0)
    assert seen.kills == 2 and seen.commits == 30


@pytest.mark.crash
@pytest.mark.skipif(not os.environ.get("SER_CRASH_FULL"), reason="the full crash suite runs by make crash")
def test_an_hour_of_kills_leaks_nothing(encoders: tuple[Path, Path], tmp_path: Path) -> None:
    seen = run(encoders, tmp_path, utterances=int(12 * HOUR), longest=8.0, seconds=HOUR)
    facts = {
        "seconds": HOUR,
        "kills": seen.kills,
        "commits": seen.commits,
        "parent open files": [min(seen.files), max(seen.files), grown(list(map(float, seen.files)))],
        "parent MiB": [round(min(seen.parent)), round(max(seen.parent)), round(grown(seen.parent), 1)],
        "worker MiB": [round(max(seen.workers)), round(grown(seen.workers), 1)],
    }
    print(json.dumps(facts))
    assert seen.kills >= HOUR / 240
    assert grown(list(map(float, seen.files))) <= 4  # a worker more at the moment of looking
    assert grown(seen.parent) < SLACK and grown(seen.workers) < SLACK
