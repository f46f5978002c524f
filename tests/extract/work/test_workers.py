"""Worker processes: what happens when they die, and when the parent is told to stop."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ser_cache.format.plan
from ser_base.progress import Lines
from ser_cache import open_cache
from ser_extract.run import Extraction, run
from ser_extract.work.workers import Pool, WorkersDie

running = importlib.import_module("ser_extract.run")  # the package's attribute of this name is the function


def rows(cache: Path, modality: str) -> dict[str, Any]:
    entry = open_cache(cache).select(modality=modality)
    return {name: entry[name] for name in entry.ids}


class Murderous(Pool):
    """Kills the worker that touches the utterance `victim`, as a crash in a native library would."""

    victim = ""
    rest = 1_000
    kills = 0

    def _kill(self, worker: Any) -> None:
        if type(self).kills < self.rest:
            type(self).kills += 1
            os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.join()

    def _send(self, worker: Any, message: Any) -> None:
        super()._send(worker, message)
        if message is not None and not message[2] and self.victim in message[0].ids:
            self._kill(worker)


CRASHING = """
import os, signal, sys
if any("multiprocessing.forkserver" in argument or "spawn_main" in argument for argument in sys.orig_argv):
    from ser_extract.encoders.text_engine import TextEngine

    encode = TextEngine.encode

    def crashing(self, inputs):
        if any({word!r} in text for text in inputs):
            with open({log!r}, "a") as log:
                log.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(self, inputs)

    TextEngine.encode = crashing
"""


@pytest.fixture
def murderous(monkeypatch: pytest.MonkeyPatch) -> type[Murderous]:
    import ser_extract.work.workers

    monkeypatch.setattr(ser_extract.work.workers, "Pool", Murderous)
    monkeypatch.setattr(Murderous, "kills", 0)
    monkeypatch.setattr(Murderous, "rest", 1_000)
    return Murderous


def test_workers_make_the_cache_that_one_process_makes_even_when_one_is_killed(
    corpus, job, tmp_path, monkeypatch, murderous
):
    monkeypatch.setattr(ser_cache.format.plan, "SHARD_ITEMS", 3)
    root = corpus(6)
    run(job(root, cache=tmp_path / "alone"))
    monkeypatch.setattr(murderous, "victim", "u04")
    monkeypatch.setattr(murderous, "rest", 1)
    result = run(job(root, workers=2))
    assert murderous.kills == 1
    assert result.exit_code == 0 and result.encoded == {"audio": 6, "text": 6}
    for modality in ("audio", "text"):
        one, other = rows(tmp_path / "alone", modality), rows(tmp_path / "cache", modality)
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_an_utterance_that_kills_its_process_is_found_and_listed(corpus, job, tmp_path, monkeypatch):
    """The worker dies by its own hand, where a native library would have crashed: no race with the parent."""
    folder = tmp_path / "crashing"
    folder.mkdir()
    root = corpus(4)
    word = next(line for line in root.read_text().splitlines() if line.startswith("u02,")).split(",")[-1].split()[0]
    (folder / "sitecustomize.py").write_text(CRASHING.format(word=word, log=str(folder / "crashes")))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    result = run(job(root, workers=1, modalities=("text",)))
    assert [(line.id, line.reason) for line in result.skipped] == [("u02", "encoder_crash")]
    assert result.exit_code == 3
    assert set(rows(tmp_path / "cache", "text")) == {"u00", "u01", "u03"}
    assert (folder / "crashes").read_text() == "xxx"  # twice with its shard, once alone


def test_workers_that_never_get_anywhere_end_the_run(corpus, job, monkeypatch):
    import ser_extract.work.workers

    class Hopeless(Pool):
        def _send(self, worker: Any, message: Any) -> None:
            os.kill(worker.process.pid, signal.SIGKILL)

    monkeypatch.setattr(ser_extract.work.workers, "Pool", Hopeless)
    with pytest.raises(WorkersDie, match="signal 9"):
        run(job(corpus(1), workers=1, modalities=("text",)))


def test_a_worker_s_error_is_the_parent_s(corpus, job, tmp_path, tiny, monkeypatch):
    """The weights go away between plan and work."""
    import shutil

    from ser_extract.errors import EncoderBroken

    folder = shutil.copytree(tiny("bert"), tmp_path / "mine")
    original = running.Extraction._work

    def work(self: Any, stop: Any) -> int:
        (folder / "tokenizer.json").write_text("{}")
        return original(self, stop)

    monkeypatch.setattr(running.Extraction, "_work", work)
    with pytest.raises(EncoderBroken, match="tokenizer cannot be loaded"):
        run(job(corpus(1), workers=1, text_encoder=str(folder), modalities=("text",)))


class Pressing(Lines):
    """Presses Ctrl-C when the first utterances are done."""

    def __init__(self, times: int, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._left, self._number = times, number

    def note(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, phase: str, utterances: int, seconds: float) -> None:
        if not phase.startswith("hash") and self._left:
            times, self._left = self._left, 0
            for _ in range(times):
                os.kill(os.getpid(), self._number)
                time.sleep(0.01)


def test_one_ctrl_c_finishes_the_shard_in_hand(corpus, job, tmp_path, monkeypatch):
    monkeypatch.setattr(ser_cache.format.plan, "SHARD_ITEMS", 2)
    told = Pressing(1)
    root = corpus(6)
    result = Extraction(job(root, modalities=("text",)), told).run()
    assert result.interrupted and result.exit_code == 130
    assert len(rows(tmp_path / "cache", "text")) == 2
    assert any("goes on" in line for line in told.lines)
    assert run(job(root, modalities=("text",))).encoded == {"text": 4}


@pytest.mark.parametrize(("times", "number"), [(2, signal.SIGINT), (1, signal.SIGTERM)])
def test_the_second_ctrl_c_and_sigterm_drop_it(corpus, job, tmp_path, monkeypatch, times, number):
    monkeypatch.setattr(ser_cache.format.plan, "SHARD_ITEMS", 2)
    before = signal.getsignal(signal.SIGINT)
    result = Extraction(job(corpus(6), modalities=("text",)), Pressing(times, number)).run()
    assert result.exit_code == 130
    assert len(rows(tmp_path / "cache", "text")) == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_there_is_a_plan_is_an_interruption_too(corpus, job, monkeypatch):
    def read(job: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    monkeypatch.setattr(running, "read_corpus", read)
    result = run(job(corpus(1)))
    assert result.exit_code == 130 and result.utterances == 0


HOLDING = """
import multiprocessing, os, time
from ser_extract.work.workers import die_with_parent

def hold():
    die_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    process = multiprocessing.get_context("forkserver").Process(target=hold)
    process.start()
    process.join()
"""


def test_a_worker_ends_with_the_run_although_a_server_has_forked_it(tmp_path):
    (tmp_path / "holding.py").write_text(HOLDING)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "holding.py")], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline().strip().isdecimal()
    parent.kill()
    parent.wait()
    assert parent.stdout.read() == ""  # its end comes when the worker and the server are gone
