"""The derived index: finds what an entry holds, notices what changed, is made again at will."""

import gc
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from made_cache import fails, items, spec, values, write

from ser_cache import Damaged, Item, MissingRow, Row, StaleEntry, create_cache, open_cache
from ser_cache.cli.main import main
from ser_cache.format.bulk import uncollected
from ser_cache.maintenance.index import Index, StaleIndex, build_index
from ser_cache.maintenance.verify import verify

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "bench_catalogue.py"


@pytest.fixture
def cache(tmp_path: Path, container: str) -> Path:
    write(tmp_path / "cache", items(20), container)
    write(tmp_path / "cache", items(6), container, entry=spec(layer=4))
    return tmp_path / "cache"


def test_the_index_says_what_the_entries_say(cache: Path, tmp_path: Path):
    with Index(build_index(cache, tmp_path / "i.sqlite"), cache) as index:
        for info in open_cache(cache).entries():
            entry = open_cache(cache).open(info)
            assert tuple(index.ids(info.address, limit=7)) == entry.ids[:7]
            assert tuple(index.ids(info.address, after=entry.ids[2])) == entry.ids[3:]
            for name in entry.ids:
                assert np.array_equal(index.read(info.address, name), entry[name])
            (counts,) = [each for each in index.entries() if each["address"] == info.address]
            assert (counts["utterances"], counts["frames"]) == (len(entry), entry.total_frames)
            assert {name: index.failures(name)[info.address][0] for name in entry.failures} == dict.fromkeys(
                entry.failures, "nan"
            )
        assert len(index.find("u001")) == 2 and len(index.find("u015")) == 1 and not index.find("none")
        with pytest.raises(MissingRow):
            index.read("none", "u001")
        assert index.changed() == ()


def test_every_change_of_the_records_is_noticed(cache: Path, tmp_path: Path):
    path = build_index(cache, tmp_path / "i.sqlite")
    one, other = (info.address for info in open_cache(cache).entries())

    def changed() -> tuple[str, ...]:
        with Index(path, cache) as index:
            found = index.changed()
        build_index(cache, path)
        return found

    assert changed() == ()
    write(cache, items(24))
    assert changed() == (one,)
    write(cache, items(1), entry=spec(layer=5))
    assert changed() == ("audio-made--encoder-L5-float16",)
    open_cache(cache).withdraw(["u002"])
    assert len(changed()) == 3
    with Index(path, cache) as index:
        assert not index.find("u002")
    write(cache, items(1, version="b"), entry=spec(layer=4, declared={"weights": "other"}), replace=True)
    assert changed() == (other,)


def test_what_an_old_index_cannot_know_is_an_error_and_not_a_wrong_row(cache: Path, tmp_path: Path):
    path = build_index(cache, tmp_path / "i.sqlite")
    entry = open_cache(cache).select(layer=3)
    with Index(path, cache) as index:
        place = next(each for each in index.find("u001") if each.address == entry.address)
        data = next(entry.path.glob(f"data/{place.generation:04d}-{place.shard:08d}-*"))
        row = values(items(2)[1]).tobytes()
        (file,) = [each for each in [data, *data.rglob("*")] if each.is_file() and row in each.read_bytes()]
        whole = file.read_bytes()
        file.write_bytes(whole.replace(row, bytes(len(row))))
        with pytest.raises(Damaged, match="u001"):
            index.read(entry.address, "u001")
        file.write_bytes(whole)
        assert np.array_equal(index.read(entry.address, "u001"), values(items(2)[1]))
        for record in entry.path.glob("commits/*/*.json"):
            record.unlink()
        with pytest.raises(StaleEntry):
            index.read(entry.address, "u001")


def test_what_is_no_index_of_this_cache_is_refused(cache: Path, tmp_path: Path):
    path = tmp_path / "i.sqlite"
    with pytest.raises(StaleIndex, match="no such file"):
        Index(path)
    path.write_bytes(b"something else, at least as long as the header of a database" * 50)
    with pytest.raises(StaleIndex, match="SQLite"):
        Index(path)
    build_index(cache, path)
    with pytest.raises(StaleIndex, match="ser cache index"):
        Index(path, tmp_path)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE about SET version = 99")
    with pytest.raises(StaleIndex, match="version 99"):
        Index(path)
    assert not list(tmp_path.glob(".*.part"))


def test_ids_of_any_text(tmp_path: Path):
    names = ("ü/é", "\ud800", "x' OR '1'='1", "日本", "")
    writer = create_cache(tmp_path / "cache").writer(spec())
    writer.plan(Item(name, "a", 1.0, 1) for name in names)
    for shard in writer.pending():
        writer.commit(shard, [Row(name, np.full((1, 5), number, "f2")) for number, name in enumerate(names)])
    with Index(build_index(tmp_path / "cache", tmp_path / "i.sqlite")) as index:
        for number, name in enumerate(names):
            (place,) = index.find(name)
            assert index.read(place.address, name)[0, 0] == number
        assert set(index.ids(spec().address, after="")) == set(names) - {""}


def test_the_commands(cache: Path, tmp_path: Path):
    def run(*arguments: object, code: int = 0) -> str:
        done = CliRunner().invoke(main, [str(each) for each in arguments])
        assert done.exit_code == code, done.output
        return done.output

    options = ("--index", tmp_path / "i.sqlite")
    told = run("find", cache, "u001", "u007", *options, code=3)
    assert "making it" in told and "u001: audio-made--encoder-L4-float16, shard 0001/00000000" in told
    assert "u007: audio-made--encoder-L3-float16, failed: nan, made to fail" in told
    assert "making it" not in run("find", cache, "u001", *options)
    assert "18 utterances in 5 commits" in run("index", cache, *options)
    assert "no row and no failure" in run("find", cache, "nobody", *options, code=3)
    assert fails(items(8)[7])


def test_records_can_be_verified_without_the_features(cache: Path):
    data = next(cache.glob("entries/*/data/*"))
    for file in [data, *data.rglob("*")]:
        if file.is_file():
            file.write_bytes(b"x")
    assert verify(cache).findings
    assert not verify(cache, data=False).findings
    record = next(cache.glob("entries/*/commits/*/*.json"))
    record.write_bytes(record.read_bytes().replace(b"nan", b"NaN") if b"nan" in record.read_bytes() else b"{}")
    assert verify(cache, data=False).findings


def test_the_benchmark_runs(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--scale", "tiny", "--json", str(tmp_path / "b.json")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "one look-up" in done.stdout and (tmp_path / "b.json").is_file()


def test_the_collector_is_off_while_records_are_read_and_as_before_afterwards():
    for before in (True, False):
        (gc.enable if before else gc.disable)()
        try:
            with pytest.raises(ValueError), uncollected():
                assert not gc.isenabled()
                raise ValueError
            assert gc.isenabled() is before
        finally:
            gc.enable()
