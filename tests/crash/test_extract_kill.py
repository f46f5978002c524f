"""`ser-extract` killed at random times and run again: in the end the cache equals that of an uninterrupted run.

Four interruptions by default, twenty with `make crash`. SIGKILL hits the parent (its workers go with it), SIGINT comes once
or twice. Small shards, so that there is something to lose.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_cache import open_cache

PROGRAM = """
import sys
import ser_cache.format.plan
if __name__ == "__main__":  # a worker imports this file as well
    ser_cache.format.plan.SHARD_ITEMS = 4
    from ser_extract.cli import command as main
    main()
"""
UTTERANCES = 40


@pytest.fixture(scope="module")
def command(encoders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command without its cache: one corpus, two layers of speech, one of text."""
    folder = tmp_path_factory.mktemp("crash")
    random_source = np.random.default_rng(0)
    lines = ["id,path,label,text"]
    for k in range(UTTERANCES):
        seconds = 0.5 + 2.0 * random_source.random()
        soundfile.write(folder / f"{k}.wav", 0.1 * random_source.standard_normal(int(seconds * 16_000)), 16_000)
        lines.append(f"u{k:03d},{k}.wav,x,{'abcdefgh'[k % 8]} b c")
    lines.append("gone,broken.wav,x,a")
    (folder / "broken.wav").write_bytes(b"RIFF")
    (folder / "corpus.csv").write_text("\n".join(lines) + "\n")
    (folder / "program.py").write_text(PROGRAM)
    speech, text = encoders
    return [
        sys.executable, str(folder / "program.py"), "--corpus", "csv", "--root", str(folder / "corpus.csv"), "--device", "cpu",
        "--audio-encoder", str(speech), "--text-encoder", str(text), "--audio-layer", "1,2", "--text-layer", "2", "--workers", "2",
    ]  # fmt: skip


def contents(cache: Path) -> dict[str, bytes]:
    """Every row of every entry, and every failure."""
    opened, found = open_cache(cache), {}
    for info in opened.entries():
        entry = opened.open(info)
        found |= {f"{info.address}/{name}": values.tobytes() for name, values in entry.scan()}
        found |= {f"{info.address}/{name}": failure.reason.encode() for name, failure in entry.failures.items()}
    return found


@pytest.fixture(scope="module")
def uninterrupted(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    cache = tmp_path_factory.mktemp("whole") / "cache"
    started = time.monotonic()
    done = subprocess.run([*command, "--cache", str(cache)], check=False, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    found = contents(cache)
    assert len(found) == 3 * (UTTERANCES + 1)
    return found, time.monotonic() - started


def interrupt(command: list[str], cache: Path, chance: random.Random, longest: float) -> int:
    """One run, interrupted somewhere; returns its exit code."""
    process = subprocess.Popen(
        [*command, "--cache", str(cache)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    number = chance.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
    try:
        process.wait(chance.uniform(0.2, longest))
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        if number == signal.SIGINT and chance.random() < 0.5:
            time.sleep(0.1)
            process.send_signal(number)
    code = process.wait(120)
    assert code in (-signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM, 130, 3), code
    return code


def rounds(count: int, command: list[str], whole: tuple[dict[str, bytes], float], tmp_path: Path) -> None:
    expected, seconds = whole
    chance = random.Random(20 + count)
    cache = tmp_path / "cache"
    for _ in range(count):
        interrupt(command, cache, chance, seconds)
        if (cache / "format.json").exists():  # whatever is visible is right
            assert contents(cache).items() <= expected.items()
        if chance.random() < 1 / 8:
            cache = cache.with_name(f"cache{chance.random()}")  # begin anew now and then
    done = subprocess.run([*command, "--cache", str(cache)], check=False, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert contents(cache) == expected
    again = subprocess.run([*command, "--cache", str(cache)], check=False, capture_output=True, text=True)
    assert "encoded now: 0 audio, 0 text" in again.stdout


def test_a_few_interruptions(command, uninterrupted, tmp_path):
    rounds(4, command, uninterrupted, tmp_path)


@pytest.mark.crash
@pytest.mark.skipif(not os.environ.get("SER_CRASH_FULL"), reason="the full crash suite runs by make crash")
def test_twenty_interruptions(command, uninterrupted, tmp_path):
    rounds(20, command, uninterrupted, tmp_path)
