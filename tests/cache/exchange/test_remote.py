"""Caches on object stores: the same questions in fsspec's memory and, where s3fs and moto are installed, on S3.

What must not happen: a shard that is half there, a shard that is committed twice, a row that is another's.
"""

import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from made_cache import assert_right, copy, items, spec, state, write

from ser_cache import Damaged, MissingEntry, NotACache, SpecMismatch, open_cache
from ser_cache.cli.main import main
from ser_cache.exchange.remote import pull, push
from ser_cache.exchange.store import CannotReach, RemoteConflict, Store
from ser_cache.maintenance.verify import verify

pytest.importorskip("fsspec", reason="fsspec is not installed (extra s3)")
SHARDS = 20
EVERYTHING = items(4 * SHARDS)


def remote_commits(url: str) -> list[str]:
    store = Store(url)
    (entry,) = store.names("entries")
    return [
        name
        for each in store.names(f"entries/{entry}/commits")
        for name in store.names(f"entries/{entry}/commits/{each}")
    ]


def remote_data(url: str) -> list[str]:
    """Data of which at least one object is there."""
    store = Store(url)
    (entry,) = store.names("entries")
    paths = store.files.find(f"{store.root}/entries/{entry}/data")
    return sorted({path.split("/data/", 1)[1].split("/")[0] for path in paths})


def test_pushed_and_pulled_is_the_same_cache(url: str, tmp_path: Path, container: str) -> None:
    cache = write(tmp_path / "a", items(20), container)
    cache.attach("manifest.parquet", b"rows")
    cache.withdraw(["u003"])
    first = push(tmp_path / "a", url)
    assert (first.committed, first.already) == (5, 0) and first.bytes > 0
    assert (push(tmp_path / "a", url).committed, push(tmp_path / "a", url).already) == (0, 5)
    assert pull(url, tmp_path / "b").committed == 5
    assert state(tmp_path / "b") == state(tmp_path / "a")
    assert "u003" not in open_cache(tmp_path / "b").select()
    assert open_cache(tmp_path / "b").attachment("manifest.parquet") == b"rows"
    assert not verify(tmp_path / "b").findings
    assert (pull(url, tmp_path / "b").committed, pull(url, tmp_path / "b").bytes) == (0, 0)


def test_another_machine_does_what_is_missing_from_the_records_alone(url: str, tmp_path: Path) -> None:
    write(tmp_path / "a", items(20), shards=2)
    push(tmp_path / "a", url)
    assert pull(url, tmp_path / "b", records=True).bytes == 0
    done: list[str] = []
    write(tmp_path / "b", items(24), acknowledge=done.extend)
    assert len(done) == 24 - 8  # two shards of four were there
    assert push(tmp_path / "b", url).committed == 4
    pull(url, tmp_path / "c")
    write(tmp_path / "whole", items(24))
    got, expected = state(tmp_path / "c"), state(tmp_path / "whole")
    assert got == expected
    assert push(tmp_path / "a", url).already == 2  # the first one is behind, not in conflict


def test_only_the_entries_that_are_used_are_pulled(url: str, tmp_path: Path) -> None:
    write(tmp_path / "a", items(8))
    write(tmp_path / "a", items(8), entry=spec(layer=4))
    push(tmp_path / "a", url)
    pull(url, tmp_path / "b", addresses=[spec(layer=4).address])
    assert_right(open_cache(tmp_path / "b").select(), items(8))
    assert open_cache(tmp_path / "b").select().spec.layer == 4
    with pytest.raises(MissingEntry, match="L3"):
        pull(url, tmp_path / "b", addresses=["audio-none-L1-float16"])


PUSHER = """
import os, signal, sys
import ser_cache.exchange.remote as remote
from pathlib import Path
if len(sys.argv) > 3:  # die between the data of the third shard and its commit
    create, seen = remote.Store.create, []
    def dying(self, path, data):
        if "/commits/" in path:
            seen.append(path)
            if len(seen) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        return create(self, path, data)
    remote.Store.create = dying
print(remote.push(Path(sys.argv[1]), sys.argv[2]).committed)
"""


def pusher(cache: Path, url: str, *more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PUSHER, str(cache), url, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("url", ["s3"], indirect=True)
def test_two_writers_at_once_commit_each_of_twenty_shards_once(url: str, tmp_path: Path) -> None:
    write(tmp_path / "a", EVERYTHING, shards=0)
    copy(tmp_path / "a", tmp_path / "b")  # the same plan, computed twice
    for name in ("a", "b"):
        write(tmp_path / name, EVERYTHING)
    running = [pusher(tmp_path / name, url) for name in ("a", "b")]
    told = [process.communicate(timeout=240) for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    shares = [int(out) for out, _ in told]
    assert sum(shares) == SHARDS
    assert len(remote_commits(url)) == SHARDS
    assert len(remote_data(url)) == SHARDS  # the losers' data are deleted
    pull(url, tmp_path / "c")
    assert state(tmp_path / "c") == state(tmp_path / "a")
    assert not verify(tmp_path / "c").findings


@pytest.mark.parametrize("url", ["s3"], indirect=True)
def test_a_killed_upload_leaves_nothing_visible(url: str, tmp_path: Path) -> None:
    write(tmp_path / "a", EVERYTHING)
    process = pusher(tmp_path / "a", url, "die")
    process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL
    assert len(remote_commits(url)) == 2 and len(remote_data(url)) == 3
    pull(url, tmp_path / "b")
    seen = open_cache(tmp_path / "b").select()
    assert len(seen) + len(seen.failures) == 8
    assert_right(seen, EVERYTHING)
    assert push(tmp_path / "a", url).committed == SHARDS - 2
    pull(url, tmp_path / "c")
    assert state(tmp_path / "c") == state(tmp_path / "a")


class _Early(Store):
    """A store as it was before anybody committed."""

    def names(self, folder: str) -> list[str]:
        return [] if folder.endswith("commits") else super().names(folder)


def test_a_lost_race_deletes_its_own_data_and_a_lost_reply_is_a_success(url: str, tmp_path: Path) -> None:
    write(tmp_path / "a", items(8), shards=0)
    copy(tmp_path / "a", tmp_path / "b")
    for name in ("a", "b"):
        write(tmp_path / name, items(8))
    push(tmp_path / "a", url)
    before = remote_data(url)
    lost = push(tmp_path / "b", _Early(url))  # b looked before a committed
    assert (lost.committed, lost.already) == (0, 2)
    assert remote_data(url) == before
    again = push(tmp_path / "a", _Early(url))  # its own records are there already: as after a lost reply
    assert (again.committed, again.already) == (2, 0)
    assert remote_data(url) == before
    pull(url, tmp_path / "c")
    assert state(tmp_path / "c") == state(tmp_path / "a")


def test_what_does_not_fit_together_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(NotACache):
        pull(url, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    write(tmp_path / "a", items(8))
    push(tmp_path / "a", url)
    write(tmp_path / "b", items(9)[4:])
    with pytest.raises(RemoteConflict, match=r"plans/0001\.json"):
        push(tmp_path / "b", url)
    write(tmp_path / "c", items(8), entry=spec(declared={"weights": "other"}))
    with pytest.raises(SpecMismatch, match="weights"):
        push(tmp_path / "c", url)
    with pytest.raises(SpecMismatch, match="weights"):
        pull(url, tmp_path / "c")
    assert len(remote_commits(url)) == 2


def test_a_damaged_object_never_takes_a_name_in_the_mirror(url: str, tmp_path: Path) -> None:
    write(tmp_path / "a", items(8), "hdf5")
    push(tmp_path / "a", url)
    store = Store(url)
    (entry,), (name, _) = store.names("entries"), remote_data(url)
    whole = store.read(f"entries/{entry}/data/{name}")
    store.replace(f"entries/{entry}/data/{name}", whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(Damaged, match=name):
        pull(url, tmp_path / "b")
    assert not list((tmp_path / "b").rglob(f"*{name}*")) and not list((tmp_path / "b").rglob(".*.tmp"))
    store.replace(f"entries/{entry}/data/{name}", whole)
    pull(url, tmp_path / "b")
    assert state(tmp_path / "b") == state(tmp_path / "a")


def test_other_protocols_and_the_commands(tmp_path: Path) -> None:
    for other in ("/tmp/x", "file:///tmp/x", "http://x/y"):
        with pytest.raises(CannotReach, match="s3://"):
            Store(other)
    without = "import sys; sys.modules['s3fs'] = None; from ser_cache.cli.main import main; main()"
    told = subprocess.run(
        [sys.executable, "-c", without, "pull", "s3://b/x", tmp_path / "x"], capture_output=True, check=False
    )
    assert told.returncode == 1 and b"ser-fusion[s3]" in told.stderr and b"Traceback" not in told.stderr

    def run(*arguments: Any) -> str:
        done = CliRunner().invoke(main, [str(each) for each in arguments])
        assert done.exit_code == 0, done.output
        return done.output

    url = f"memory://{uuid.uuid4().hex}"
    write(tmp_path / "a", items(8))
    assert "2 shards pushed" in run("push", tmp_path / "a", url)
    assert "2 shards pulled (0 B)" in run("pull", url, tmp_path / "b", "--records")
    assert "0 shards pulled" in run("pull", url, tmp_path / "b")
    assert state(tmp_path / "b") == state(tmp_path / "a")
