"""ser cache: what each command prints, changes and returns; gc and withdrawals to the byte."""

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from made_cache import RECIPE, assert_right, data_files, items, spec, state, values, write

from ser_base.files import UNLOCKED_HOURS
from ser_cache import AmbiguousEntry, MissingEntry, StaleEntry, create_cache, open_cache
from ser_cache.cli.main import main
from ser_cache.maintenance.gc import sweep, usage
from ser_cache.maintenance.remove import remove_utterances
from ser_cache.maintenance.repair import repair
from ser_cache.maintenance.verify import verify


def run(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_ls_info_and_du(tmp_path: Path, container: str):
    root = tmp_path / "c"
    write(root, items(20), container, shards=4)
    write(root, items(4), container, entry=spec(layer=9))
    listed = run("ls", root)
    assert listed.exit_code == 0
    lines = [line for line in listed.output.splitlines() if "audio-" in line]
    assert len(lines) == 2 and all(container in line for line in lines)
    rows = json.loads(run("ls", root, "--json").output)
    assert [(row["layer"], row["utterances"], row["failed"], row["missing"]) for row in rows] == [
        (3, 15, 1, 4),
        (9, 4, 0, 0),
    ]
    assert rows[0]["bytes"] == sum(
        path.stat().st_size for path in (root / "entries").glob("*L3*/data/**/*") if path.is_file()
    )
    told = run("info", root, "audio-made--encoder-L3-float16").output
    for part in ("declared rate: 16000", "15 utterances", "4 missing, 1 failed", "u007: nan", RECIPE, "4 of 5 shards"):
        assert part in told, part
    assert run("info", root, "nothing").exit_code == 1
    for row in json.loads(run("du", root, "--json").output):
        folder = root / "entries" / row["entry"]
        assert row["live"] and row["dead"] == 0 and row["container"]  # ids, offsets and metadata are nobody's dead rows
        parts = ("live", "dead", "container", "orphans", "quarantine", "records")
        assert sum(row[name] for name in parts) == sum(path.stat().st_size for path in data_files(folder))
    assert "orphans" in run("du", root).output


def test_the_cache_may_be_named_by_the_environment(tmp_path: Path):
    write(tmp_path / "c", items(4))
    result = CliRunner().invoke(main, ["ls"], env={"SER_CACHE": str(tmp_path / "c")})
    assert result.exit_code == 0 and "audio-made--encoder-L3-float16" in result.output


def test_wrong_usage_is_exit_code_2_and_faults_are_1(tmp_path: Path):
    write(tmp_path / "c", items(4))
    assert run("ls", tmp_path / "nowhere").exit_code == 1
    assert "is not a feature cache" in run("ls", tmp_path / "nowhere").output
    assert not (tmp_path / "nowhere").exists()
    assert run("verify", tmp_path / "nowhere").exit_code == run("rm", tmp_path / "nowhere", "--ids", "a").exit_code == 1
    assert run("rm", tmp_path / "c").exit_code == run("rm", tmp_path / "c", "--ids", "a", "--entry", "b").exit_code == 2
    assert run("rm", tmp_path / "c", "--undo", "--entry", "b").exit_code == 2
    assert run("rm", tmp_path / "c", "--ids", " , ").exit_code == 2
    assert run("rm", tmp_path / "c", "--ids", "nobody").exit_code == 1
    assert run("rm", tmp_path / "c", "--entry", "nobody").exit_code == 1
    assert run("nothing").exit_code == 2


def test_select_never_chooses(tmp_path: Path):
    write(tmp_path / "c", items(4))
    write(tmp_path / "c", items(4), entry=spec(layer=9))
    cache = open_cache(tmp_path / "c")
    with pytest.raises(AmbiguousEntry) as caught:
        cache.select(modality="audio")
    assert "L3" in str(caught.value) and "L9" in str(caught.value)
    with pytest.raises(MissingEntry, match="layer=4"):
        cache.select(layer=4)
    with pytest.raises(MissingEntry):
        open_cache(create_cache(tmp_path / "empty").path).select()


def test_a_withdrawn_speaker_leaves_no_byte_in_the_data(tmp_path: Path, container: str):
    root = tmp_path / "c"
    wanted = items(20)
    write(root, wanted, container)
    write(root, wanted, container, entry=spec(layer=9))
    gone = [wanted[number] for number in (1, 2, 9, 13)]
    needles = [values(item).tobytes() for item in gone if values(item).nbytes > 20]
    assert needles and all(any(needle in path.read_bytes() for path in data_files(root)) for needle in needles)
    listed = tmp_path / "ids.txt"
    listed.write_text("".join(f"{item.id}\n" for item in gone))
    done = run("rm", root, "--ids", listed)
    assert done.exit_code == 0 and "Withdrew 4 utterances: 8 rows removed, 6 shards" in done.output, done.output
    assert not any(needle in path.read_bytes() for path in data_files(root) for needle in needles)
    assert verify(root).findings == [] and not verify(root).unfinished
    for layer in (3, 9):
        entry = open_cache(root).select(layer=layer)
        assert not {item.id for item in gone} & set(entry.ids) and len(entry) == 14
        assert_right(entry, wanted)
    before = sorted(path.name for path in root.rglob("data/*"))
    write(root, wanted, container)
    assert sorted(path.name for path in root.rglob("data/*")) == before  # a rerun leaves them alone
    assert run("rm", root, "--ids", listed).exit_code == 0  # again: nothing left to do
    assert "no longer withdrawn" in run("rm", root, "--ids", listed, "--undo").output
    write(root, wanted, container)
    write(tmp_path / "one", wanted, container)
    kept = open_cache(root).select(layer=3)
    assert_right(kept, wanted)
    assert kept.ids == open_cache(tmp_path / "one").select().ids


def test_a_shard_whose_every_row_is_withdrawn(tmp_path: Path, container: str):
    root = tmp_path / "c"
    write(root, items(8), container)
    removed = remove_utterances(create_cache(root), [f"u{number:03d}" for number in range(4)])
    assert (removed.rows, removed.shards) == (4, 1)
    assert open_cache(root).select().ids == ("u004", "u005", "u006")
    write(root, items(8), container)
    assert len(open_cache(root).select()) == 3 and not verify(root).unfinished
    sweep(open_cache(root), older_hours=0)
    write(root, items(8), container)
    assert len(open_cache(root).select()) == 3 and verify(root).findings == []


def test_an_open_entry_says_that_it_is_stale(tmp_path: Path, container: str):
    root = tmp_path / "c"
    write(root, items(8), container)
    before, mapped = open_cache(root).select(), open_cache(root).select()
    row = mapped["u000"]
    remove_utterances(create_cache(root), ["u001"])
    with pytest.raises(StaleEntry, match="Open the cache again"):
        before["u000"]
    assert mapped["u000"].tobytes() == row.tobytes()  # what is mapped stays readable
    assert before["u004"].tobytes() == values(items(8)[4]).tobytes()


def test_gc_takes_what_nobody_can_see_and_nothing_else(tmp_path: Path, container: str):
    root = tmp_path / "c"
    wanted = items(8)
    write(root, wanted, container)
    corrected = [type(item)(item.id, f"b-{number}", item.cost, item.frames) for number, item in enumerate(wanted)]
    write(root, corrected, container)  # supersedes both shards
    entry = open_cache(root).select()
    orphan = next((entry.path / "data").iterdir())
    target = entry.path / "data" / orphan.name.replace(orphan.name[14:46], "f" * 32)
    os.system(f"cp -r {orphan} {target}")
    (entry.path / "commits" / "0001" / f".{'a' * 32}.tmp").write_bytes(b"half")
    young = sweep(open_cache(root), older_hours=24)
    assert (young.shards, young.orphans, young.temporary) == (2, 0, 0)  # what may belong to a writer at work stays
    dry = sweep(open_cache(root), older_hours=0, dry_run=True)
    assert (dry.orphans, dry.temporary) == (1, 1) and target.exists() and dry.bytes > 100
    done = run("gc", root, "--older", 0)
    assert done.exit_code == 0 and "1 without a commit, 1 temporary" in done.output
    assert not target.exists() and not list(root.rglob("*.tmp"))
    assert_right(open_cache(root).select(), corrected)
    (use,) = usage(open_cache(root))
    assert use["orphans"] == use["quarantine"] == 0
    assert sweep(open_cache(root), older_hours=0).bytes == 0
    write(root, corrected, container)
    assert len(list((entry.path / "data").iterdir())) == 2


def test_gc_keeps_a_row_whose_correction_is_not_computed_yet(tmp_path: Path):
    root = tmp_path / "c"
    wanted = items(4)
    write(root, wanted)
    corrected = [type(item)(item.id, f"b-{number}", item.cost, item.frames) for number, item in enumerate(wanted)]
    create_cache(root).writer(spec()).plan(corrected)
    sweep(open_cache(root), older_hours=0)
    create_cache(root).writer(spec()).plan(wanted)  # the correction is taken back
    assert_right(open_cache(root).select(), wanted)
    assert len(open_cache(root).select()) == 4


def test_gc_finishes_a_replacement(tmp_path: Path, container: str):
    root = tmp_path / "c"
    write(root, items(8), container)
    write(root, items(8), container, entry=spec(declared={"weights": "new"}), replace=True)
    assert sweep(open_cache(root)).shards == 2
    entry = open_cache(root).select()
    assert len(entry) == 7 and len(list((entry.path / "data").iterdir())) == 2 and verify(root).findings == []


def test_rm_entry(tmp_path: Path):
    root = tmp_path / "c"
    write(root, items(4))
    write(root, items(4), entry=spec(layer=9))
    assert run("rm", root, "--entry", spec(layer=9).address).exit_code == 0
    assert [info.spec.layer for info in open_cache(root).entries()] == [3]
    assert not list((root / "entries").glob(".*"))
    write(root, items(4), entry=spec(layer=9))
    assert len(open_cache(root).select(layer=9)) == 4


def test_verify_says_good_unfinished_and_damaged(tmp_path: Path, container: str):
    root = tmp_path / "c"
    write(root, items(8), container, shards=1)
    unfinished = run("verify", root)
    assert (
        unfinished.exit_code == 3
        and "4 planned utterances have no row yet" in unfinished.output
        and RECIPE in unfinished.output
    )
    write(root, items(8), container)
    good = run("verify", root)
    assert good.exit_code == 0 and "2 shards" in good.output and "0 damaged" in good.output
    report = json.loads(CliRunner().invoke(main, ["verify", str(root), "--json"]).stdout)
    assert report["findings"] == [] and report["shards"] == 2
    victim = max(data_files(root), key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-3])
    report = json.loads(CliRunner().invoke(main, ["verify", str(root), "--json"]).stdout)
    assert len(report["findings"]) == 1 and report["findings"][0]["recipe"] == RECIPE
    assert len(report["findings"][0]["ids"]) >= 3


def test_reading_writes_nothing(tmp_path: Path, container: str):
    root = tmp_path / "c"
    write(root, items(8), container).attach("manifest.parquet", b"x")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")}
    time.sleep(0.01)
    entry = open_cache(root).select()
    entry.gather(entry.ids)
    dict(entry.scan())
    open_cache(root).attachment("manifest.parquet")
    for words in (["ls"], ["info"], ["du"], ["verify"], ["gc", "--dry-run"]):
        assert run(words[0], root, *words[1:]).exit_code == 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")} == before


def test_state_is_the_same_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "c", items(8))
    monkeypatch.chdir(tmp_path)
    assert state(Path("c")) == state(tmp_path / "c")


def test_an_entry_in_which_nothing_was_planned_is_made_anew(tmp_path: Path):
    """Killed between its record and its first plan, and then the record is damaged: there is nothing to lose."""
    root = tmp_path / "c"
    record = create_cache(root).writer(spec()).path / "entry.json"
    record.write_bytes(record.read_bytes()[:-20])
    report = verify(root)
    assert [finding.kind for finding in report.findings] == ["entry"]
    assert repair(root, report) == [] and verify(root).findings == []
    write(root, items(6))
    assert_right(open_cache(root).select(), items(6))
    # now there is something: it is not taken away
    for plan in (*(record.parent / "plans").iterdir(), *(record.parent / "witnesses").glob("plans/*")):
        plan.write_bytes(b"{}")
    record.write_bytes(b"{}")
    for commit in record.parent.glob("commits/*/*"):
        commit.write_bytes(b"{}")
    assert any("neither entry.json nor any plan" in problem for problem in repair(root, verify(root)))


def test_the_next_writer_of_an_entry_clears_old_temporary_files_away(tmp_path: Path):
    write(tmp_path / "c", items(4))
    entry = open_cache(tmp_path / "c").select().path
    places = [entry, entry / "plans", entry / "data", entry / "commits" / "0001"]
    long_ago = time.time() - (UNLOCKED_HOURS + 1) * 3600
    for place in places:
        (place / f".{'a' * 32}.tmp").write_bytes(b"half")
        (place / f".{'b' * 32}.tmp").write_bytes(b"half")
        os.utime(place / f".{'a' * 32}.tmp", (long_ago, long_ago))
    write(tmp_path / "c", items(4))
    assert sorted(tmp_path.rglob("*.tmp")) == sorted(place / f".{'b' * 32}.tmp" for place in places)
