"""Killed anywhere.

Nothing acknowledged is lost, nothing half-written is visible, and a rerun ends like a run that was never killed.

The slice kills at every named place of the protocol once and at some random moments; in full (`make crash`, or
SER_CRASH_FULL=1) every passage of every place, and 240 random moments.
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cache"))

from made_cache import (
    CONTAINERS,
    assert_right,
    in_child,
    items,
    spec,
    start_child,
    state,
    write,
)

from ser_cache import CacheError, create_cache, open_cache
from ser_cache.format import durable
from ser_cache.maintenance.gc import sweep
from ser_cache.maintenance.remove import remove_utterances
from ser_cache.maintenance.repair import repair
from ser_cache.maintenance.verify import verify

FULL = bool(os.environ.get("SER_CRASH_FULL"))
WANTED = items(8)


@pytest.fixture(scope="module", params=CONTAINERS)
def container(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(container: str, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The state after one run that nothing disturbed, and the places of the protocol it passed."""
    root = tmp_path_factory.mktemp("whole")
    write(root / "c", WANTED, container)
    report = root / "places"

    def counted() -> None:
        durable.arm("count")
        write(root / "d", WANTED, container)
        report.write_text("\n".join(durable.passed))

    assert in_child(counted) == 0
    places = report.read_text().splitlines()
    assert state(root / "c") == state(root / "d")
    return {"state": state(root / "c"), "places": places}


def _killed_at(root: Path, container: str, place: str) -> list[str]:
    """A run that dies at ``place``; returns the ids it had acknowledged."""
    acknowledged = root.with_suffix(".acknowledged")

    def run() -> None:
        durable.arm(place)
        with open(acknowledged, "a") as log:

            def note(ids: list[str]) -> None:
                log.write("".join(f"{name}\n" for name in ids))
                log.flush()

            write(root, WANTED, container, acknowledge=note)

    assert in_child(run) == -signal.SIGKILL, place
    return acknowledged.read_text().split() if acknowledged.exists() else []


def _check_after_kill(root: Path, acknowledged: list[str], wanted: list) -> None:
    try:
        cache = open_cache(root)
    except CacheError:
        assert not acknowledged  # killed before there was a cache
        return
    report = verify(root)
    assert report.findings == []
    if not cache.entries():
        assert not acknowledged
        return
    entry = cache.select()
    assert_right(entry, wanted)
    assert set(acknowledged) <= {*entry.ids, *entry.failures}


def _check_resume(root: Path, container: str, wanted: list, expected: dict) -> None:
    write(root, wanted, container)
    assert state(root) == expected
    cache = open_cache(root)
    sweep(cache, older_hours=0)
    entry = cache.select()
    commits = sum(1 for _ in entry.path.glob("commits/*/*.json"))
    assert commits == 2 and len(list((entry.path / "data").iterdir())) == 2  # nothing is left behind
    assert not [path for path in root.rglob("*") if path.name.endswith(".tmp")]
    assert state(root) == expected and verify(root).findings == []


def _places(passed: list[str]) -> list[str]:
    """Every named place once; in full every passage of every place."""
    if FULL:
        return [str(number + 1) for number in range(len(passed))]
    return sorted(set(passed))


def test_killed_at_every_place_of_the_protocol(container: str, whole: dict, tmp_path: Path):
    places = _places(whole["places"])
    assert len(set(whole["places"])) >= 15
    for place in places:
        root = tmp_path / "c"
        acknowledged = _killed_at(root, container, place)
        _check_after_kill(root, acknowledged, WANTED)
        _check_resume(root, container, WANTED, whole["state"])
        shutil.rmtree(root)
        root.with_suffix(".acknowledged").unlink(missing_ok=True)


@pytest.mark.crash
@pytest.mark.skipif(not FULL, reason="the full crash suite: set SER_CRASH_FULL=1")
def test_full_random_kills(container: str, tmp_path: Path):
    _random_kills(container, tmp_path, kills=120, seed=11)


def test_random_kills(container: str, tmp_path: Path):
    _random_kills(container, tmp_path, kills=10, seed=10)


def _random_kills(container: str, tmp_path: Path, kills: int, seed: int) -> None:
    """Runs that are killed after a random time and started again until the cache is whole, then from nothing."""
    rng = random.Random(seed)
    wanted = items(60, per_shard=3)
    write(tmp_path / "whole", wanted, container)
    expected = state(tmp_path / "whole")
    done = finished = 0
    longest = 0.3
    while done < kills:
        root = tmp_path / f"c{finished}"
        log = tmp_path / f"acknowledged{finished}"

        def run(root: Path = root, log: Path = log) -> None:
            with open(log, "a") as file:

                def note(ids: list[str]) -> None:
                    file.write("".join(f"{name}\n" for name in ids))
                    file.flush()

                write(root, wanted, container, acknowledge=note)

        while True:
            begin = time.monotonic()
            pid = start_child(run)
            limit = begin + rng.uniform(0, longest)
            status = (0, 0)
            while status == (0, 0) and time.monotonic() < limit:
                status = os.waitpid(pid, os.WNOHANG)
                time.sleep(0.001)
            if status == (0, 0) and done < kills:
                os.kill(pid, signal.SIGKILL)
                status = os.waitpid(pid, 0)
            elif status == (0, 0):
                status = os.waitpid(pid, 0)
            acknowledged = log.read_text().split() if log.exists() else []
            if os.waitstatus_to_exitcode(status[1]) == -signal.SIGKILL:
                done += 1
                _check_after_kill(root, acknowledged, wanted)
            else:
                assert os.waitstatus_to_exitcode(status[1]) == 0
                break
        finished += 1
        assert state(root) == expected
        shutil.rmtree(root)
    print(f"{container}: {done} kills, {finished} finished runs")


def _prepared(root: Path, container: str) -> list:
    """A cache with every kind of leftover: a superseded row, a withdrawal, damaged data."""
    wanted = items(8)
    wanted[3] = type(wanted[3])("u003", "b-3", 30.0, 4)
    write(root, items(8), container)
    write(root, wanted, container)
    return wanted


@pytest.mark.parametrize("action", ["withdraw", "gc", "repair"])
def test_maintenance_killed_anywhere_is_finished_by_its_next_run(container: str, action: str, tmp_path: Path):
    original = tmp_path / "original"
    wanted = _prepared(original, container)
    if action == "repair":
        (damaged, *_) = sorted((original / "entries").glob("*/data/0001-00000000-*"))
        victim = max([damaged, *damaged.rglob("*")], key=lambda path: path.is_file() and path.stat().st_size)
        victim.write_bytes(victim.read_bytes()[:-1])
    if action == "gc":
        write(original, wanted, container, entry=spec(declared={"weights": "other"}), replace=True)

    def act(root: Path) -> None:
        if action == "withdraw":
            remove_utterances(create_cache(root), ["u001", "u005"])
        elif action == "gc":
            sweep(open_cache(root), older_hours=0)
        else:
            repair(root, verify(root))

    def finish(root: Path) -> dict:
        act(root)
        sweep(open_cache(root), older_hours=0)
        write(root, wanted, container, entry=open_cache(root).entries()[0].spec)
        assert verify(root).findings == []
        names = sorted(path.name.split("-")[0] for path in root.rglob("data/*"))
        return {**state(root), "data": names}

    one = tmp_path / "one"
    shutil.copytree(original, one)
    counter = tmp_path / "places"

    def counted() -> None:
        durable.arm("count")
        act(one)
        counter.write_text("\n".join(durable.passed))

    assert in_child(counted) == 0
    expected = finish(one)
    passed = counter.read_text().splitlines()
    places = _places(passed) if FULL else random.Random(5).sample(sorted(set(passed)), min(5, len(set(passed))))
    assert places
    for place in places:
        root = tmp_path / "c"
        shutil.copytree(original, root)

        def run(root: Path = root, place: str = place) -> None:
            durable.arm(place)
            act(root)

        assert in_child(run) == -signal.SIGKILL
        if action != "repair":
            entry = open_cache(root).select()
            assert_right(entry, wanted)
            if action == "withdraw" and open_cache(root).withdrawn():
                assert "u001" not in entry and "u005" not in entry
        assert finish(root) == expected, place
        shutil.rmtree(root)


def test_an_attachment_is_old_or_new_wherever_the_writer_dies(tmp_path: Path):
    root = tmp_path / "c"
    create_cache(root).attach("manifest.parquet", b"old")
    seen = set()
    for number in range(1, 30):

        def run(number: int = number) -> None:
            durable.arm(str(number))
            create_cache(root).attach("manifest.parquet", b"new" * 100)

        code = in_child(run)
        seen.add(open_cache(root).attachment("manifest.parquet"))
        assert verify(root).findings == []
        if code == 0:
            break
        create_cache(root).attach("manifest.parquet", b"old")
    assert seen == {b"old", b"new" * 100} and number > 8
