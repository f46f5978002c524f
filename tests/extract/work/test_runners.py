"""One contract for every runner: the cache of a plain run in one process, also when a worker is killed on the way.

`--shards` is judged with the same questions: three shells at once, and two runners on one cache.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ser_cache import open_cache
from ser_cache.maintenance.verify import verify
from ser_extract.run import run
from ser_extract.work.runners import RUNNERS

# run in a process of its own: small shards, and the process may kill itself once between encoding and committing
PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from ser_extract.job import ExtractJob
from ser_extract.run import run
from ser_extract.work.shard import ShardProcessor

path, part, pace, marker = sys.argv[1:]
commit = ShardProcessor.commit

def once(self, *arguments):
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return commit(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)

if marker:
    ShardProcessor.commit = once
job = ExtractJob.model_validate(json.loads(Path(path).read_text()) | {"part": [int(part), 3]})
sys.exit(run(job, pace=float(pace)).exit_code)
"""
# between encoding a unit and committing it
KILLED = """
from ser_extract.work.shard import ShardProcessor

def commit(self, *rest, then=ShardProcessor.commit):
    crash(1)
    return then(self, *rest)

ShardProcessor.commit = commit
"""
POISON = """
from ser_extract.encoders.text_engine import TextEngine

def encode(self, texts, then=TextEngine.encode):
    if any({word!r} in text for text in texts):
        crash(100)
    return then(self, texts)

TextEngine.encode = encode
"""
UTTERANCES = 6


def contents(cache: Path) -> dict[str, Any]:
    """Every row of every entry."""
    opened = open_cache(cache)
    entries = [opened.open(info) for info in opened.entries()]
    assert not any(entry.missing for entry in entries)
    return {f"{entry.address}/{name}": values.tobytes() for entry in entries for name, values in entry.scan()}


def commits(cache: Path) -> int:
    return len(list(cache.glob("entries/*/commits/*/*.json")))


@pytest.fixture
def plain(corpus: Any, job: Any, tmp_path: Path, finest: float) -> tuple[Path, dict[str, Any]]:
    """A corpus of text, and what a run in one process makes of it."""
    root = corpus(UTTERANCES)
    assert run(job(root, cache=tmp_path / "plain", modalities=("text",)), pace=finest).exit_code == 0
    return root, contents(tmp_path / "plain")


@pytest.fixture(params=list(RUNNERS))
def runner(request: pytest.FixtureRequest) -> str:
    """Every runner of the table."""
    if request.param == "ray":
        pytest.importorskip("ray.data", reason="Ray is not installed (extra ray)")
    return str(request.param)


def test_two_workers_and_one_killed_make_the_plain_cache(
    runner: str, plain: Any, job: Any, tmp_path: Path, crashing: Callable[[str], Callable[[], int]], finest: float
) -> None:
    root, expected = plain
    deaths = crashing(KILLED)
    two = job(root, runner=runner, workers=2, modalities=("text",))
    result = run(two, pace=finest)
    assert deaths() == 1
    assert result.exit_code == 0 and result.encoded == {"text": UTTERANCES} and result.left == 0
    assert contents(tmp_path / "cache") == expected
    assert commits(tmp_path / "cache") == UTTERANCES
    assert not verify(tmp_path / "cache").findings
    assert run(two, pace=finest).encoded == {"text": 0}


@pytest.mark.slow  # test_workers.py asks the same of the local pool
def test_an_utterance_that_kills_every_actor_is_listed_and_the_rest_done(
    plain: Any, job: Any, tmp_path: Path, crashing: Callable[[str], Callable[[], int]], finest: float
) -> None:
    pytest.importorskip("ray.data", reason="Ray is not installed (extra ray)")
    root, expected = plain
    line = next(line for line in root.read_text().splitlines() if line.startswith("u03,"))
    deaths = crashing(POISON.format(word=line.split(",")[-1].split()[0]))
    result = run(job(root, runner="ray", workers=2, modalities=("text",)), pace=finest)
    assert [(line.id, line.reason) for line in result.skipped] == [("u03", "encoder_crash")]
    assert contents(tmp_path / "cache") == {name: row for name, row in expected.items() if not name.endswith("/u03")}
    assert deaths() == 6  # an actor and two retries; the local worker twice with the unit, once alone


def test_a_missing_ray_says_what_to_install(plain: Any, job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ser_base.errors import PackageMissing

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PackageMissing, match=r"ser-fusion\[ray\]"):
        run(job(plain[0], runner="ray", modalities=("text",)))


def test_three_shells_at_once_one_killed_and_requeued(plain: Any, job: Any, tmp_path: Path, finest: float) -> None:
    root, expected = plain
    program, cache = tmp_path / "program.py", tmp_path / "cache"
    program.write_text(PROGRAM)
    (tmp_path / "job.json").write_text(job(root, cache=cache, modalities=("text",)).model_dump_json())
    running = [
        subprocess.Popen(
            [sys.executable, str(program), str(tmp_path / "job.json"), part, str(finest), marker],
            stderr=subprocess.PIPE,
            text=True,
        )
        for part, marker in (("1", ""), ("2", str(tmp_path / "marker")), ("3", ""))
    ]
    codes = [process.wait(240) for process in running]
    told = [process.communicate()[1] for process in running]
    assert codes == [0, -signal.SIGKILL, 0], told
    left = commits(cache)
    assert left == UTTERANCES - 2  # the killed part had two shards and committed none
    # requeued, as SLURM does with a preempted task of an array
    assert run(job(root, cache=cache, modalities=("text",), part=(2, 3)), pace=finest).exit_code == 0
    assert contents(cache) == expected
    assert commits(cache) == UTTERANCES
    assert not verify(cache).findings


def test_two_runners_on_one_cache_commit_each_shard_once(plain: Any, job: Any, tmp_path: Path, finest: float) -> None:
    root, expected = plain
    cache = tmp_path / "cache"
    child = os.fork()  # the other runner; a fork, since loading torch once more is the costly part
    if not child:
        code = 1
        try:
            code = run(job(root, modalities=("text",)), pace=finest).exit_code
        finally:
            os._exit(code)
    assert run(job(root, modalities=("text",)), pace=finest).exit_code == 0
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert contents(cache) == expected
    assert commits(cache) == UTTERANCES
    assert not verify(cache).findings
    assert len(list(cache.glob("entries/*/plans/*.json"))) == 1
