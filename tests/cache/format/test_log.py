"""Lost tails: plans, withdrawals, entries, copies, witnesses, whole folders. Each loss is told, and no wrong row is read."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from made_cache import copy, items, spec, values, write

from ser_cache import CacheError, Damaged, Item, create_cache, open_cache
from ser_cache.cli.main import main
from ser_cache.format.log import withdrawal_log
from ser_cache.format.plan import plan_log
from ser_cache.maintenance.gc import sweep
from ser_cache.maintenance.remove import remove_entry, remove_utterances
from ser_cache.maintenance.repair import repair
from ser_cache.maintenance.verify import Report, verify

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
WITHDRAWN = "u005"
FIRST = items(8)
CORRECTED = [Item("u002", "b-2", 30.0, 4) if item.id == "u002" else item for item in FIRST]


@pytest.fixture
def taken_back(in_memory: Path) -> Path:
    """u002 was corrected and the correction taken back: the last plan holds only a resolve. u005 is withdrawn."""
    root = in_memory / "c"
    for wanted in (FIRST, CORRECTED, FIRST):
        write(root, wanted, "hdf5")
    remove_utterances(create_cache(root), [WITHDRAWN])
    write(root, FIRST, "hdf5", entry=spec(layer=9))
    open_cache(root).attach("manifest.parquet", b"rows")
    return root


def _entry(root: Path) -> Path:
    return root / "entries" / spec().address


def _rerun(root: Path) -> None:
    write(root, FIRST, "hdf5")
    write(root, FIRST, "hdf5", entry=spec(layer=9)).attach("manifest.parquet", b"rows")


def _told(report: Report) -> bool:
    return bool(report.findings or report.unfinished or report.lacking)


def _read(root: Path) -> None:
    """What is read is right, or reading is refused."""
    right = {item.id: item for item in FIRST}
    try:
        cache = open_cache(root)
        entries = [cache.open(info) for info in cache.entries()]
    except CacheError:
        return
    for entry in entries:
        assert WITHDRAWN not in entry and WITHDRAWN not in entry.missing
        for name in entry.ids:
            try:
                row = entry[name]
            except CacheError:
                continue
            assert entry.input_hashes[name] == right[name].input_hash, name
            assert row.tobytes() == values(right[name]).tobytes(), name


def _states(root: Path) -> list[object]:
    cache = open_cache(root)
    return [
        (entry.ids, entry.input_hashes, entry.missing, entry.failures, [entry[name].tobytes() for name in entry.ids])
        for entry in map(cache.open, cache.entries())
    ]


def _heals(root: Path, expected: list[object]) -> None:
    report = verify(root)
    assert repair(root, report) == []
    _read(root)
    assert not verify(root).findings and not verify(root).lacking
    _rerun(root)
    assert not _told(verify(root)) and _states(root) == expected


def _run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_every_file_and_folder_lost_or_flipped_in_turn(taken_back: Path):
    expected = _states(taken_back)
    assert not _told(verify(taken_back))
    every = sorted(path.relative_to(taken_back) for path in taken_back.rglob("*"))
    # one of the two entries is enough
    paths = [path for path in every if "L9" not in str(path) or len(path.parts) == 2]
    assert len(paths) > 30
    root = taken_back.with_name("x")
    for relative in paths:
        whole = taken_back / relative
        if whole.is_dir() and not any(each.is_file() for each in whole.rglob("*")):
            continue  # an empty folder and none are the same
        for damage in ("lost", "flipped"):
            if damage == "flipped" and (whole.is_dir() or not whole.stat().st_size):
                continue
            copy(taken_back, root)
            path = root / relative
            if damage == "flipped":
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            # the commit of the correction that was taken back: nothing of it is shown, and gc would take it as well
            superseded = damage == "lost" and "commits/0002" in str(relative)
            assert _told(verify(root)) != superseded, (damage, relative)
            _read(root)
            _heals(root, expected)
            shutil.rmtree(root)


@pytest.mark.parametrize("lost", [("record",), ("record", "copy"), ("record", "copy", "witness")])
@pytest.mark.parametrize("damage", ["delete", "flip"])
def test_the_last_plan_is_missed_and_never_serves_a_superseded_row(
    taken_back: Path, lost: tuple[str, ...], damage: str
):
    """It only says that the correction was taken back; without it the corrected row would be shown."""
    log = plan_log(_entry(taken_back))
    assert log.length() == 3 and not log.read(log.record(3), 3).shards
    expected = _states(taken_back)
    places = dict(zip(("record", "copy", "witness"), log.places(3), strict=True))
    for name in lost:
        if damage == "delete":
            places[name].unlink()
        else:
            places[name].write_bytes(places[name].read_bytes().replace(b"a-2", b"b-2"))
    if damage == "delete" and len(lost) == 3:
        return  # as if it had never been: three losses at once are more than is promised
    with pytest.raises(Damaged):
        open_cache(taken_back).select(layer=3)
    assert _run("verify", taken_back)[0] == 1
    code, told = _run("verify", taken_back, "--repair")
    _read(taken_back)
    if len(lost) == 3:  # nothing is left to restore it from: withheld until the corpus is read again
        assert code == 3 and "7 utterances have no row now" in told and len(open_cache(taken_back).select(layer=3)) == 0
    else:
        assert code == 0 and _states(taken_back) == expected
    data = sorted((_entry(taken_back) / "data").iterdir())
    _rerun(taken_back)
    assert _states(taken_back) == expected and sorted((_entry(taken_back) / "data").iterdir()) == data


def test_a_plan_of_a_first_release_cache_is_withheld_rather_than_guessed(tmp_path: Path):
    """It has neither copies nor witnesses: what the lost plan wanted is not known."""
    root = tmp_path / "c"
    for wanted in (FIRST, CORRECTED, FIRST):
        write(root, wanted)
    shutil.rmtree(_entry(root) / "witnesses")
    for path in (_entry(root) / "plans").glob("*.copy"):
        path.unlink()
    (_entry(root) / "plans" / "0003.json").write_bytes(b"{}")
    assert repair(root, verify(root)) == []
    assert len(open_cache(root).select()) == 0
    sweep(open_cache(root), older_hours=0)  # what is withheld is not taken for dead
    write(root, FIRST)
    assert open_cache(root).select().input_hashes["u002"] == "a-2"


@pytest.mark.parametrize("lost", [("record",), ("record", "copy"), ("copy", "witness"), ("record", "witness")])
def test_a_withdrawn_utterance_stays_withdrawn(taken_back: Path, lost: tuple[str, ...]):
    log = withdrawal_log(taken_back)
    for path, name in zip(log.places(1), ("record", "copy", "witness"), strict=True):
        if name in lost:
            path.unlink()
    code, _ = _run("verify", taken_back)
    assert code == (1 if "record" in lost else 3)
    if "witness" not in lost:
        with pytest.raises(Damaged):
            open_cache(taken_back).withdrawn()
    assert _run("verify", taken_back, "--repair")[0] == 0
    _rerun(taken_back)
    for entry in map(open_cache(taken_back).open, open_cache(taken_back).entries()):
        assert WITHDRAWN not in entry and WITHDRAWN not in entry.missing
    assert all(path.exists() for path in log.places(1))


def test_a_whole_entry_that_is_gone_is_missed(taken_back: Path, tmp_path: Path):
    shutil.rmtree(_entry(taken_back))
    for use in ("ls", "info", "du", "gc"):
        assert _run(use, taken_back)[0] == 1
    with pytest.raises(Damaged, match="whole entry is gone"):
        open_cache(taken_back).select()
    assert _run("merge", taken_back, "--into", tmp_path / "merged")[0] == 1
    code, told = _run("verify", taken_back)
    assert code == 1 and spec().address in told and "whole entry is gone" in told
    code, told = _run("verify", taken_back, "--repair")
    assert code == 3 and f"Nothing is left of the entry {spec().address}" in told
    assert _run("verify", taken_back)[0] == 0 and len(open_cache(taken_back).entries()) == 1
    _rerun(taken_back)
    assert len(open_cache(taken_back).entries()) == 2
    shutil.rmtree(_entry(taken_back))
    assert _run("verify", taken_back)[0] == 1  # also the one that was made again


def test_a_removed_entry_is_not_missed_and_may_be_made_again(taken_back: Path):
    remove_entry(open_cache(taken_back), spec().address)
    assert not _told(verify(taken_back)) and len(open_cache(taken_back).entries()) == 1
    _rerun(taken_back)
    assert not _told(verify(taken_back)) and len(open_cache(taken_back).entries()) == 2
    remove_entry(open_cache(taken_back), spec().address)
    assert not _told(verify(taken_back))


@pytest.mark.parametrize("container", ["zarr", "hdf5"])
def test_a_cache_of_the_first_release_gets_its_witnesses_from_gc(container: str, tmp_path: Path):
    root = copy(GOLDEN / f"cache-v1-{container}", tmp_path / "c")
    before = _states(root)
    assert not _told(verify(root)) and not (root / "witnesses").exists()
    assert _run("gc", root)[0] == 0
    assert not _told(verify(root)) and _states(root) == before
    for entry in (root / "entries").iterdir():
        assert len(list((entry / "plans").glob("*.copy"))) == len(list((entry / "witnesses" / "plans").iterdir()))
    shutil.rmtree(root / "witnesses")
    assert verify(root).lacking


def test_merge_carries_witnesses(taken_back: Path, tmp_path: Path):
    assert _run("merge", taken_back, "--into", tmp_path / "merged")[0] == 0
    assert not _told(verify(tmp_path / "merged")) and list((tmp_path / "merged").rglob("0001-made-*"))
    assert open_cache(tmp_path / "merged").withdrawn() == {WITHDRAWN}
