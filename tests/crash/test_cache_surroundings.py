"""What is around a cache fails.

The disk is full, the medium read-only, there are no hard links, others write at the same time.
"""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cache"))

from made_cache import (
    CONTAINERS,
    assert_right,
    fails,
    in_child,
    items,
    mapped,
    spec,
    special,
    start_child,
    state,
    values,
    write,
)

from ser_cache import CannotCommit, CannotWrite, Failure, Row, create_cache, open_cache
from ser_cache.format import durable
from ser_cache.maintenance.gc import sweep
from ser_cache.maintenance.verify import verify

FULL = bool(os.environ.get("SER_CRASH_FULL"))
WANTED = items(24)


@pytest.fixture(params=CONTAINERS)
def container(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("writers", [2, 4])
def test_several_processes_write_one_cache(container: str, writers: int, tmp_path: Path):
    write(tmp_path / "one", WANTED, container)
    expected = state(tmp_path / "one")
    for number in range(10 if FULL else 2):
        root = tmp_path / f"c{number}"
        pids = [start_child(lambda root=root: write(root, WANTED, container)) for _ in range(writers)]
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * writers
        assert state(root) == expected
        entry = open_cache(root).select()
        assert len(list(entry.path.glob("commits/*/*"))) == len(list((entry.path / "data").iterdir())) == 6
        assert len(list((entry.path / "plans").glob("*.json"))) == 1  # one planned, the others adopted it
        assert verify(root).findings == []


def test_writers_that_are_killed_beside_others(container: str, tmp_path: Path):
    write(tmp_path / "one", WANTED, container)
    rng = random.Random(3)
    for number in range(10 if FULL else 2):
        root = tmp_path / f"c{number}"
        pids = [start_child(lambda root=root: write(root, WANTED, container)) for _ in range(3)]
        for pid in pids[:2]:
            signal.sigtimedwait([], rng.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        assert codes[2] == 0 and set(codes[:2]) <= {0, -signal.SIGKILL}
        assert state(root) == state(tmp_path / "one")
        sweep(open_cache(root), older_hours=0)
        assert len(list(root.glob("entries/*/data/*"))) == 6


def test_disk_full_by_file_size(container: str, tmp_path: Path):
    """RLIMIT_FSIZE stops the data of the second shard; what was committed stays, nothing else is left."""
    root = tmp_path / "c"
    big = spec(features=2000)

    def run(limit: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        writer = create_cache(root).writer(big, container=container)
        writer.plan(items(8))
        for number, shard in enumerate(writer.pending()):
            frames = 2 if number == 0 else 20
            rows = [Row(item.id, values(item, features=2000)[:1].repeat(frames, 0)) for item in shard.items]
            writer.commit(shard, rows)

    def limited() -> None:
        with pytest.raises(CannotWrite, match="File too large|cannot write"):
            run(120_000)

    assert in_child(limited) == 0
    entry = open_cache(root).select()
    assert entry.ids == ("u000", "u001", "u002", "u003") and len(entry.missing) == 4
    assert len(list((entry.path / "data").iterdir())) == 1 and not list(root.rglob("*.tmp"))
    assert verify(root).findings == []
    assert in_child(lambda: run(100_000_000)) == 0
    assert len(open_cache(root).select()) == 8 and verify(root).findings == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_disk_full(container: str, small_disk: Path):
    root = small_disk / "c"
    wide = spec(features=8000)
    committed: list[str] = []
    writer = create_cache(root).writer(wide, container=container)
    wanted = [item for item in items(200) if len(values(item)) and not fails(item)]
    writer.plan(wanted)
    with pytest.raises(CannotWrite, match="[Nn]o space left|cannot write"):
        for shard in writer.pending():
            writer.commit(shard, [Row(item.id, values(item, features=8000)) for item in shard.items])
            committed += [item.id for item in shard.items]
    entry = open_cache(root).select()
    assert committed and entry.ids == tuple(sorted(committed))
    for item in wanted[: len(committed)]:
        assert entry[item.id].tobytes() == values(item, features=8000).tobytes()
    assert verify(root).findings == []
    assert len(list((entry.path / "data").iterdir())) == len(list(entry.path.glob("commits/*/*")))


@pytest.fixture
def read_only(tmp_path: Path, container: str) -> Iterator[Path]:
    """A cache on a medium that cannot be written to."""
    write(tmp_path / "c", WANTED, container, shards=3)
    folder = tmp_path / "medium"
    folder.mkdir()
    bound = subprocess.run(["mount", "--bind", str(tmp_path / "c"), str(folder)], capture_output=True, check=False)
    if bound.returncode:
        pytest.skip("this user may not mount")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_read_only_cache_is_read_and_verified(read_only: Path, container: str):
    entry = open_cache(read_only).select()
    assert_right(entry, WANTED)
    assert len(entry) == 11 and mapped(entry)
    assert verify(read_only).findings == []
    sweep(open_cache(read_only), dry_run=True)
    with pytest.raises(CannotWrite, match="Read-only file system"):
        write(read_only, WANTED, container)
    with pytest.raises(CannotWrite, match="Read-only file system"):
        open_cache(read_only).attach("manifest.parquet", b"x")
    with pytest.raises(CannotWrite, match="Read-only file system"):
        open_cache(read_only).withdraw(["u001"])


@pytest.fixture
def fails_at() -> Iterator[Callable[[str], None]]:
    """``fails_at("link=EPERM")``: from here on this system call fails; ``fails_at("")``: none does."""
    yield durable.arm
    durable.arm("")


@pytest.mark.parametrize("code", ["EPERM", "EOPNOTSUPP", "EMLINK", "ENOSYS"])
def test_without_hard_links_a_rename_that_never_replaces(container: str, code: str, tmp_path: Path, fails_at: Any):
    fails_at(f"link={code}")
    write(tmp_path / "c", WANTED, container)
    fails_at("")
    write(tmp_path / "one", WANTED, container)
    assert state(tmp_path / "c") == state(tmp_path / "one") and verify(tmp_path / "c").findings == []
    assert not list((tmp_path / "c").rglob("*.tmp"))


def test_several_writers_without_hard_links(container: str, tmp_path: Path):
    write(tmp_path / "one", WANTED, container)

    def run() -> None:
        durable.arm("link=EPERM")
        write(tmp_path / "c", WANTED, container)

    pids = [start_child(run) for _ in range(3)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    assert state(tmp_path / "c") == state(tmp_path / "one")
    assert len(list(tmp_path.glob("c/entries/*/data/*"))) == 6


def test_without_any_exclusive_create_it_refuses_clearly(container: str, tmp_path: Path, fails_at: Any):
    write(tmp_path / "c", WANTED, container, shards=2)
    fails_at("link=EPERM,rename=EINVAL")
    with pytest.raises(CannotCommit) as caught:
        write(tmp_path / "c", WANTED, container)
    assert "hard links" in str(caught.value) and "Put the cache on another file system" in str(caught.value)
    fails_at("")
    entry = open_cache(tmp_path / "c").select()
    assert len(list((entry.path / "data").iterdir())) == 2 and verify(tmp_path / "c").findings == []
    write(tmp_path / "c", WANTED, container)
    write(tmp_path / "one", WANTED, container)
    assert state(tmp_path / "c") == state(tmp_path / "one")


def test_a_lost_reply_is_not_a_lost_race(container: str, tmp_path: Path, fails_at: Any):
    """NFS may create the link, lose the answer and repeat the request: EEXIST for our own record."""
    fails_at("link.answer=EEXIST")
    writer = create_cache(tmp_path / "c").writer(spec(), container=container)
    writer.plan(WANTED)
    for shard in writer.pending():
        rows = [Row(item.id, values(item), special(item)) for item in shard.items if not fails(item)]
        bad = {item.id: Failure("nan", "made to fail") for item in shard.items if fails(item)}
        assert writer.commit(shard, rows, bad) == "committed"
    fails_at("")
    write(tmp_path / "one", WANTED, container)
    assert state(tmp_path / "c") == state(tmp_path / "one")


@pytest.mark.parametrize("code", ["EIO", "ENOSPC", "EDQUOT"])
def test_an_error_at_the_commit_leaves_nothing_and_is_retried(container: str, code: str, tmp_path: Path, fails_at: Any):
    write(tmp_path / "c", WANTED, container, shards=1)
    fails_at(f"link={code}")
    with pytest.raises(CannotWrite, match=os.strerror(getattr(errno, code))):
        write(tmp_path / "c", WANTED, container)
    fails_at("")
    assert len(list((tmp_path / "c").glob("entries/*/data/*"))) == 1
    write(tmp_path / "c", WANTED, container)
    write(tmp_path / "one", WANTED, container)
    assert state(tmp_path / "c") == state(tmp_path / "one")


@pytest.mark.parametrize(("error", "raised"), [("EIO", CannotWrite), ("SIGINT", KeyboardInterrupt)])
def test_an_fsync_that_fails_or_is_interrupted(
    container: str, error: str, raised: type[BaseException], tmp_path: Path, fails_at: Any
):
    """Whichever fsync it is: the caller learns of it, and the shard is there whole or not at all."""
    refused = 0
    for number in range(1, 26, 1 if FULL else 4):
        root = tmp_path / f"c{number}"
        writer = create_cache(root).writer(spec(), container=container)
        writer.plan(WANTED[:4])
        shard = next(writer.pending())
        rows = [Row(item.id, values(item), special(item)) for item in shard.items if not fails(item)]
        bad = {item.id: Failure("nan") for item in shard.items if fails(item)}
        fails_at(f"fsync={error}:{number}")
        try:
            writer.commit(shard, rows, bad)
        except raised:
            refused += 1
        fails_at("")
        entry = open_cache(root).select()
        assert entry.ids in ((), tuple(row.id for row in rows))
        assert bool(list((entry.path / "data").glob("*"))) == bool(entry.ids)
        assert_right(entry, WANTED)
        assert verify(root).findings == []
        assert writer.commit(shard, rows, bad) in ("committed", "already")
    assert refused >= 2
