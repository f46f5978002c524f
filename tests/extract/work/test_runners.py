"""One contract for every runner: the cache of a plain run in one process, also when a worker is killed on the way.

`--shards` is judged with the same questions: three shells at once, and two runners on one cache.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import ser_cache.format.plan
from ser_cache import open_cache
from ser_cache.maintenance.verify import verify
from ser_extract.run import run
from ser_extract.work.runners import RUNNERS

# run in a process of its own: small shards, and the process may kill itself once between encoding and committing
PROGRAM = """
import os, signal, sys
import ser_cache.format.plan
ser_cache.format.plan.SHARD_ITEMS = 2
if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("kill="):
        marker = sys.argv.pop(1)[5:]
        from ser_extract.work.shard import ShardProcessor
        commit = ShardProcessor.commit
        def once(self, *arguments):
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return commit(self, *arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        ShardProcessor.commit = once
    from ser_extract.cli import command as main
    main()
"""
UTTERANCES = 12


def contents(cache: Path) -> dict[str, Any]:
    """Every row of every entry."""
    opened = open_cache(cache)
    entries = [opened.open(info) for info in opened.entries()]
    assert not any(entry.missing for entry in entries)
    return {f"{entry.address}/{name}": values.tobytes() for entry in entries for name, values in entry.scan()}


def commits(cache: Path) -> int:
    return len(list(cache.glob("entries/*/commits/*/*.json")))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two utterances a shard, so that there is work for several workers."""
    monkeypatch.setattr(ser_cache.format.plan, "SHARD_ITEMS", 2)


@pytest.fixture
def plain(corpus: Any, job: Any, tmp_path: Path, small_shards: None) -> tuple[Path, dict[str, Any]]:
    """A corpus of text, and what a run in one process makes of it."""
    root = corpus(UTTERANCES)
    assert run(job(root, cache=tmp_path / "plain", modalities=("text",))).exit_code == 0
    return root, contents(tmp_path / "plain")


def _never(*_: Any) -> Any:
    raise AssertionError("Ray should have finished this")


class Killed:
    """A commit that first kills its process, as often as `times` says."""

    def __init__(self, folder: Path, victim: str | None = None, times: int = 1) -> None:
        self.folder, self.victim, self.times = folder, victim, times

    def __call__(self, commit: Callable[..., Any], unit: Any) -> Any:
        if self.victim is None or self.victim in unit.ids:
            for number in range(self.times):
                try:
                    os.close(os.open(self.folder / f"killed{number}", os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
        return commit()


def murderous_local(monkeypatch: pytest.MonkeyPatch, killed: Killed) -> None:
    """Kills a worker of the local pool that has just been given a unit."""
    import ser_extract.work.workers

    class Pool(ser_extract.work.workers.Pool):
        def _send(self, worker: Any, message: Any) -> None:
            super()._send(worker, message)
            if message is not None and (killed.victim is None or killed.victim in message[0].ids):
                for number in range(killed.times):
                    if not (killed.folder / f"killed{number}").exists():
                        (killed.folder / f"killed{number}").touch()
                        os.kill(worker.process.pid, signal.SIGKILL)
                        worker.process.join()
                        break

    monkeypatch.setattr(ser_extract.work.workers, "Pool", Pool)


def murderous_ray(monkeypatch: pytest.MonkeyPatch, killed: Killed) -> None:
    """Kills a Ray actor between encoding a unit and committing it."""
    import ray.cloudpickle

    import ser_extract.work.runners.ray

    class Worker(ser_extract.work.runners.ray.Worker):
        def __call__(self, batch: Any) -> Any:
            import pickle
            from functools import partial

            units = {unit.key: unit for unit in map(pickle.loads, batch["unit"])}
            for unit in units.values():
                commit = self.processor.commit
                self.processor.commit = lambda unit, *rest, commit=commit: killed(partial(commit, unit, *rest), unit)
            return super().__call__(batch)

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the actors cannot import this file
    monkeypatch.setattr(ser_extract.work.runners.ray, "Worker", Worker)


@pytest.fixture(params=list(RUNNERS))
def runner(request: pytest.FixtureRequest) -> str:
    """Every runner of the table."""
    if request.param == "ray":
        pytest.importorskip("ray.data", reason="Ray is not installed (extra ray)")
    return str(request.param)


def test_two_workers_and_one_killed_make_the_plain_cache(
    runner: str, plain: Any, job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, expected = plain
    killed = Killed(tmp_path)
    if runner == "ray":
        monkeypatch.setattr("ser_extract.work.runners.local.run", _never)  # Ray itself restarts the actor
    {"local": murderous_local, "ray": murderous_ray}[runner](monkeypatch, killed)
    result = run(job(root, runner=runner, workers=2, modalities=("text",)))
    assert (tmp_path / "killed0").exists()
    assert result.exit_code == 0 and result.encoded == {"text": UTTERANCES} and result.left == 0
    assert contents(tmp_path / "cache") == expected
    assert commits(tmp_path / "cache") == UTTERANCES // 2
    assert not verify(tmp_path / "cache").findings
    assert run(job(root, runner=runner, workers=2, modalities=("text",))).encoded == {"text": 0}


@pytest.mark.slow  # test_workers.py asks the same of the local pool
def test_an_utterance_that_kills_every_actor_is_listed_and_the_rest_done(
    plain: Any, job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray.data", reason="Ray is not installed (extra ray)")
    import ser_extract.work.workers

    def kill(worker: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.join()

    class Pool(ser_extract.work.workers.Pool):
        def _messages(self, worker: Any) -> Any:
            yield from super()._messages(worker)
            if worker.tasks and worker.tasks[0].in_hand == "u03":
                kill(worker)

        def _send(self, worker: Any, message: Any) -> None:
            super()._send(worker, message)
            if message is not None and not message[2] and "u03" in message[0].ids:
                kill(worker)

    murderous_ray(monkeypatch, Killed(tmp_path, "u03", times=100))
    monkeypatch.setattr(ser_extract.work.workers, "Pool", Pool)
    root, expected = plain
    result = run(job(root, runner="ray", workers=2, modalities=("text",)))
    assert [(line.id, line.reason) for line in result.skipped] == [("u03", "encoder_crash")]
    assert contents(tmp_path / "cache") == {name: row for name, row in expected.items() if not name.endswith("/u03")}
    assert len(list(tmp_path.glob("killed*"))) == 3  # once, and two retries


def test_a_missing_ray_says_what_to_install(plain: Any, job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ser_base.errors import PackageMissing

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PackageMissing, match=r"ser-fusion\[ray\]"):
        run(job(plain[0], runner="ray", modalities=("text",)))


def shells(program: Path, root: Path, cache: Path, tiny: Any, extra: list[list[str]]) -> list["subprocess.Popen[str]"]:
    """Starts the command once per list of further arguments, all at once."""
    common = ["--corpus", "csv", "--root", str(root), "--cache", str(cache), "--modalities", "text", "--workers", "0"]
    common += ["--text-encoder", str(tiny("bert")), "--device", "cpu"]
    return [
        subprocess.Popen(
            [sys.executable, str(program), *[each for each in more if each.startswith("kill=")], *common]
            + [each for each in more if not each.startswith("kill=")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for more in extra
    ]


def test_three_shells_at_once_one_killed_and_requeued(plain: Any, job: Any, tiny: Any, tmp_path: Path) -> None:
    root, expected = plain
    program, cache = tmp_path / "program.py", tmp_path / "cache"
    program.write_text(PROGRAM)
    parts = [["--shards", f"{k}/3"] for k in (1, 2, 3)]
    parts[1].append(f"kill={tmp_path / 'marker'}")
    running = shells(program, root, cache, tiny, parts)
    codes = [process.wait(240) for process in running]
    told = [process.communicate()[1] for process in running]
    assert codes == [0, -signal.SIGKILL, 0], told
    left = commits(cache)
    assert left == UTTERANCES // 2 - 2  # the killed part had two shards and committed none
    # requeued, as SLURM does with a preempted task of an array
    assert run(job(root, cache=cache, modalities=("text",), part=(2, 3))).exit_code == 0
    assert contents(cache) == expected
    assert commits(cache) == UTTERANCES // 2
    assert not verify(cache).findings


def test_two_runners_on_one_cache_commit_each_shard_once(plain: Any, job: Any, tmp_path: Path) -> None:
    root, expected = plain
    cache = tmp_path / "cache"
    child = os.fork()  # the other runner; a fork, since loading torch once more is the costly part
    if not child:
        code = 1
        try:
            code = run(job(root, modalities=("text",))).exit_code
        finally:
            os._exit(code)
    assert run(job(root, modalities=("text",))).exit_code == 0
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert contents(cache) == expected
    assert commits(cache) == UTTERANCES // 2
    assert not verify(cache).findings
    assert len(list(cache.glob("entries/*/plans/*.json"))) == 1
