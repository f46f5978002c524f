"""Worker processes: what happens when they die, and when the parent is told to stop."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_base.progress import Lines
from ser_base.workers import WorkersDie
from ser_cache import open_cache
from ser_extract.errors import EncoderBroken
from ser_extract.run import run


def rows(cache: Path, modality: str) -> dict[str, Any]:
    entry = open_cache(cache).select(modality=modality)
    return {name: entry[name] for name in entry.ids}


COMMIT = """
from ser_extract.work.shard import ShardProcessor

def commit(self, unit, *rest, then=ShardProcessor.commit):
    if "u04" in unit.ids:
        crash(1)
    return then(self, unit, *rest)

ShardProcessor.commit = commit
"""
ENCODE = """
from ser_extract.encoders.text_engine import TextEngine

def encode(self, texts, then=TextEngine.encode):
    if any({word!r} in text for text in texts):
        crash(100)
    return then(self, texts)

TextEngine.encode = encode
"""
START = """
from ser_extract.work.shard import ShardProcessor
ShardProcessor.__init__ = lambda *_: crash(100)
"""


def test_workers_make_the_cache_that_one_process_makes_even_when_one_is_killed(corpus, job, tmp_path, crashing, finest):
    root = corpus(6)
    run(job(root, cache=tmp_path / "alone"), pace=finest)
    deaths = crashing(COMMIT)
    result = run(job(root, workers=2), pace=finest)
    assert deaths() == 1
    assert result.exit_code == 0 and result.encoded == {"audio": 6, "text": 6}
    for modality in ("audio", "text"):
        one, other = rows(tmp_path / "alone", modality), rows(tmp_path / "cache", modality)
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_an_utterance_that_kills_its_process_is_found_and_listed(corpus, job, tmp_path, crashing):
    """The worker dies by its own hand, where a native library would have crashed: no race with the parent."""
    root = corpus(4)
    word = next(line for line in root.read_text().splitlines() if line.startswith("u02,")).split(",")[-1].split()[0]
    deaths = crashing(ENCODE.format(word=word))
    result = run(job(root, workers=1, modalities=("text",)))
    assert [(line.id, line.reason) for line in result.skipped] == [("u02", "encoder_crash")]
    assert result.exit_code == 3
    assert set(rows(tmp_path / "cache", "text")) == {"u00", "u01", "u03"}
    assert deaths() == 3  # twice with its shard, once alone


def test_workers_that_never_get_anywhere_end_the_run(corpus, job, crashing):
    crashing(START)
    with pytest.raises(WorkersDie, match="signal 9"):
        run(job(corpus(1), workers=1, modalities=("text",)))


class Breaking(Lines):
    """Breaks the tokenizer between plan and work."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def begin(self, name: str, *rest: Any, **more: Any) -> None:
        if name == "text":
            (self._folder / "tokenizer.json").write_text("{}")
        super().begin(name, *rest, **more)


def test_a_worker_s_error_is_the_parent_s(corpus, job, tmp_path, tiny):
    folder = shutil.copytree(tiny("bert"), tmp_path / "mine")
    broken = job(corpus(1), workers=1, text_encoder=str(folder), modalities=("text",))
    with pytest.raises(EncoderBroken, match="tokenizer cannot be loaded"):
        run(broken, Breaking(folder))


class Pressing(Lines):
    """Presses Ctrl-C when the first utterances of a phase are done.

    Args:
        times: How often.
        number: The signal.
        phase: Its name; any phase of work: empty.
    """

    def __init__(self, times: int = 1, number: int = signal.SIGINT, phase: str = "") -> None:
        super().__init__()
        self.lines: list[str] = []
        self._left, self._number, self._phase = times, number, phase

    def note(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, name: str, *rest: Any, **more: Any) -> None:
        super().advance(name, *rest, **more)
        if name == self._phase or (not self._phase and not name.startswith("hash")):
            times, self._left = self._left, 0
            for _ in range(times):
                os.kill(os.getpid(), self._number)
                time.sleep(0.01)


def test_one_ctrl_c_finishes_the_shard_in_hand(corpus, job, tmp_path, finest):
    told = Pressing()
    root = corpus(6)
    result = run(job(root, modalities=("text",)), told, pace=finest)
    assert result.interrupted and result.exit_code == 130
    assert len(rows(tmp_path / "cache", "text")) == 1
    assert any("continues" in line for line in told.lines)
    assert run(job(root, modalities=("text",))).encoded == {"text": 5}


@pytest.mark.parametrize(("times", "number"), [(2, signal.SIGINT), (1, signal.SIGTERM)])
def test_the_second_ctrl_c_and_sigterm_drop_it(corpus, job, tmp_path, finest, times, number):
    before = signal.getsignal(signal.SIGINT)
    result = run(job(corpus(6), modalities=("text",)), Pressing(times, number), pace=finest)
    assert result.exit_code == 130
    assert len(rows(tmp_path / "cache", "text")) == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_there_is_a_plan_is_an_interruption_too(corpus, job):
    result = run(job(corpus(1), modalities=("text",)), Pressing(phase="hash text"))
    assert result.exit_code == 130 and result.utterances == 0
