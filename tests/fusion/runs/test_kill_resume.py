"""A table is killed at random, again and again, and finished by the same command: the numbers are those of a quiet run."""

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


def done(out: Path) -> int:
    """Finished jobs."""
    return len(list(out.glob("jobs/*/*/done.json")))


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
    killed = 0
    for number, wanted in enumerate(sorted(draw.sample(range(1, jobs), kills))):
        workers = 2 if number == 0 else 0  # once with worker processes, which must die with their parent
        job = quiet.model_copy(update={"out": out, "workers": workers})
        process = subprocess.Popen([sys.executable, script, job.model_dump_json()])
        wanted = max(wanted, done(out) + 1)  # a job that was faster than its kill leaves fewer for the later ones
        while process.poll() is None and done(out) < wanted:
            time.sleep(draw.uniform(0.001, 0.02))
        orphans |= children(process.pid)
        process.kill()  # nothing, if it finished the table meanwhile
        killed += process.wait() == -signal.SIGKILL
        assert process.returncode in (-signal.SIGKILL, 0)
        if process.returncode == 0:
            break
    assert killed > kills // 2
    again = prepare(quiet.model_copy(update={"out": out}))
    train_all(again)
    assert not again.remaining
    pd.testing.assert_frame_equal(posteriors(out), expected)
    deadline = time.monotonic() + 60
    while living := [pid for pid in orphans if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"workers of a killed parent still run: {living}")
        time.sleep(0.1)
