"""Damage on either side of a push or a pull: it does not spread, and a good copy takes the place of a bad one, of no other."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from made_cache import copy, items, state, write

from ser_cache import Damaged, open_cache
from ser_cache.cli.main import main
from ser_cache.exchange.remote import pull, push
from ser_cache.exchange.store import RemoteConflict, RemoteDamaged, Store
from ser_cache.maintenance.verify import verify

pytest.importorskip("fsspec", reason="fsspec is not installed (extra s3)")
MANIFEST = b"what the corpus manifest would be"


def _flip(store: Store, path: str) -> bytes:
    """Flips a bit of an object; returns what it was."""
    whole = store.read(path)
    place = len(whole) // 2
    store.replace(path, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    return whole


def _objects(store: Store) -> list[str]:
    return sorted(path.split(store.root, 1)[1].lstrip("/") for path in store.files.find(store.root))


def _cache(root: Path, container: str = "hdf5") -> Path:
    write(root, items(8), container).attach("manifest.parquet", MANIFEST)
    return root


def test_a_flipped_attachment_is_not_taken_for_good(url: str, tmp_path: Path) -> None:
    cache = _cache(tmp_path / "a")
    push(cache, url)
    _flip(Store(url), "attachments/manifest.parquet")
    with pytest.raises(RemoteDamaged, match="never noted"):
        pull(url, tmp_path / "b")
    assert open_cache(tmp_path / "b").attachments() == ()
    push(cache, url)
    pull(url, tmp_path / "b")
    assert open_cache(tmp_path / "b").attachment("manifest.parquet") == MANIFEST


def test_a_damaged_shard_is_not_pushed_and_does_not_block_the_good_copy(url: str, tmp_path: Path) -> None:
    good = _cache(tmp_path / "good")
    bad = copy(good, tmp_path / "bad")
    (path, *_) = sorted(bad.glob("entries/*/data/*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match="was not pushed"):
        push(bad, url)
    store = Store(url)
    assert not [each for each in _objects(store) if path.name in each]
    assert push(good, url).committed == 1  # the other one of the two is there
    pull(url, tmp_path / "b")
    assert state(tmp_path / "b") == state(good) and not verify(tmp_path / "b").findings


@pytest.mark.parametrize("damage", ["flip data", "lose data", "flip commit"])
def test_a_damaged_shard_on_the_store_is_replaced_and_no_other(url: str, tmp_path: Path, damage: str) -> None:
    good = _cache(tmp_path / "good")
    push(good, url)
    store = Store(url)
    kind = "/commits/" if damage == "flip commit" else "/data/"
    path, other = [each for each in _objects(store) if kind in each][:2]
    store.delete([path]) if damage == "lose data" else _flip(store, path)
    before = store.read(other)
    with pytest.raises(RemoteDamaged, match="push CACHE URL --repair"):
        pull(url, tmp_path / "b")
    assert push(good, url).committed == 0  # without being told to it replaces nothing
    mended = push(good, url, repair=True)
    assert (mended.replaced, mended.committed, mended.already) == (1, 1, 1)
    assert store.read(other) == before
    pull(url, tmp_path / "b")
    assert state(tmp_path / "b") == state(good) and not verify(tmp_path / "b").findings
    again = push(good, url, repair=True)
    assert (again.replaced, again.committed, again.already) == (0, 0, 2)


def test_a_good_shard_of_somebody_else_is_never_replaced(url: str, tmp_path: Path) -> None:
    write(tmp_path / "a", items(8), "hdf5", shards=0)
    copy(tmp_path / "a", tmp_path / "b")
    for name in ("a", "b"):  # the same plan, computed twice: other names of the data
        write(tmp_path / name, items(8), "hdf5")
    push(tmp_path / "a", url)
    before = _objects(Store(url))
    assert push(tmp_path / "b", url, repair=True).already == 2 and _objects(Store(url)) == before
    (path, *_) = [each for each in before if "/data/" in each]
    _flip(Store(url), path)
    assert push(tmp_path / "b", url, repair=True).replaced == 1
    assert path not in _objects(Store(url))  # the damaged data are gone
    pull(url, tmp_path / "c")
    assert state(tmp_path / "c") == state(tmp_path / "a")


def test_lost_and_flipped_records_on_the_store(url: str, tmp_path: Path) -> None:
    good = _cache(tmp_path / "good")
    open_cache(good).withdraw(["u003"])
    push(good, url)
    store = Store(url)
    (entry,) = store.names("entries")
    plan, withdrawal = f"entries/{entry}/plans/0001.json", "withdrawn/0001.json"
    for path in (plan, withdrawal):
        _flip(store, path)
    pull(url, tmp_path / "b")  # from their copies
    assert state(tmp_path / "b") == state(good) and "u003" not in open_cache(tmp_path / "b").select()
    with pytest.raises(RemoteDamaged):
        push(good, url)
    push(good, url, repair=True)
    assert store.read(plan) == (good / plan).read_bytes()
    store.delete([plan, plan.replace(".json", ".copy"), f"entries/{entry}/witnesses/plans/0001.json"])
    pull(url, tmp_path / "b")  # the mirror has it
    store.delete([each for each in _objects(store) if each.startswith(f"entries/{entry}/")])
    with pytest.raises(RemoteDamaged, match="whole entry is gone|entry.json is damaged"):
        pull(url, tmp_path / "c")
    write(tmp_path / "other", items(9)[4:])
    push(good, url)
    with pytest.raises(RemoteConflict):
        push(tmp_path / "other", url, repair=True)


def test_the_command(tmp_path: Path) -> None:
    cache, url = _cache(tmp_path / "a"), "memory://damage/features"
    push(cache, url)
    _flip(Store(url), next(each for each in _objects(Store(url)) if "/data/" in each))
    done = CliRunner().invoke(main, ["push", str(cache), url, "--repair"])
    assert done.exit_code == 0 and "1 damaged shards on the store were replaced" in done.output
    shutil.rmtree(cache)
    assert CliRunner().invoke(main, ["pull", url, str(cache)]).exit_code == 0
    assert CliRunner().invoke(main, ["verify", str(cache)]).exit_code == 0
