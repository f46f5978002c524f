"""A table is killed at random, again and again, and finished by the same command: the numbers are those of a quiet run."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.prepare import prepare, train_all

CODE = """
import sys
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.prepare import prepare, train_all
if __name__ == "__main__":
    job = FuseJob.model_validate_json(sys.argv[1])
    train_all(prepare(job))
"""


def posteriors(out: Path) -> pd.DataFrame:
    frames = [pd.read_parquet(path) for path in sorted(out.glob("jobs/*/*/test.parquet"))]
    return pd.concat(frames, ignore_index=True)


def children(pid: int) -> set[int]:
    """Processes whose parent is this one (Linux)."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.add(int(status.parent.name))
    return found


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.crash)])
def test_a_killed_table_is_continued(small_cache: Path, tmp_path: Path, kills: int) -> None:
    rows = {"table": "study"} if kills > 3 else {"fusion": ("concat", "cross")}
    quiet = FuseJob(cache=small_cache, out=tmp_path / "quiet", epochs=1, stride=4, workers=1, **rows)
    jobs = len(prepare(quiet).tasks)
    train_all(prepare(quiet))
    expected = posteriors(tmp_path / "quiet")
    script, out = tmp_path / "fuse.py", tmp_path / "killed"
    script.write_text(CODE)
    draw = random.Random(7)
    orphans: set[int] = set()
    for number in range(kills):
        workers = 2 if number == 0 else 0  # once with worker processes, which must die with their parent
        job = quiet.model_copy(update={"out": out, "workers": workers})
        process = subprocess.Popen([sys.executable, script, job.model_dump_json()])
        before = len(list(out.glob("jobs/*/*/done.json")))
        wanted = before + draw.randint(1, max(1, (jobs - before) // 2))
        while process.poll() is None and len(list(out.glob("jobs/*/*/done.json"))) < wanted:
            time.sleep(draw.uniform(0.001, 0.02))
        orphans |= children(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    again = prepare(quiet.model_copy(update={"out": out}))
    train_all(again)
    assert not again.remaining
    pd.testing.assert_frame_equal(posteriors(out), expected)
    deadline = time.monotonic() + 60
    while living := [pid for pid in orphans if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"workers of a killed parent still run: {living}")
        time.sleep(0.1)
