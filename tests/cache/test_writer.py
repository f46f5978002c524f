"""Which utterance is computed when: new, changed, failed, withdrawn, planned by somebody else."""

import os
from pathlib import Path

import pytest
from made_cache import assert_right, calls, fails, items, spec, state, values, write

from ser_cache import Failure, Item, Row, SpecMismatch, WrongRows, create_cache, open_cache
from ser_cache.format.commit import Commit, read_commit
from ser_cache.format.layout import commit_path, names
from ser_cache.format.ledger import Ledger, Work
from ser_cache.format.plan import SHARD_SECONDS
from ser_cache.items import Shard


def computed(root: Path, wanted: list[Item], **options) -> list[str]:
    """Ids that a run over ``wanted`` computes."""
    done: list[str] = []
    write(root, wanted, acknowledge=done.extend, **options)
    return sorted(done)


def changed(wanted: list[Item], *names: str, version: str = "b") -> list[Item]:
    return [
        Item(item.id, f"{version}-{item.input_hash.split('-')[1]}", item.cost, item.frames)
        if item.id in names
        else item
        for item in wanted
    ]


def test_nothing_is_computed_twice(tmp_path: Path, container: str):
    wanted = items(20)
    assert len(computed(tmp_path / "c", wanted, container=container)) == 20
    before = state(tmp_path / "c")
    assert computed(tmp_path / "c", wanted, container=container) == []
    assert computed(tmp_path / "c", wanted[:5]) == []  # ids that are no longer asked for stay
    assert state(tmp_path / "c") == before


def test_new_utterances_become_a_new_generation(tmp_path: Path):
    computed(tmp_path / "c", items(10))
    assert computed(tmp_path / "c", items(13)) == ["u010", "u011", "u012"]
    entry = open_cache(tmp_path / "c").select()
    assert sorted(path.name for path in (entry.path / "plans").glob("*.json")) == ["0001.json", "0002.json"]
    write(tmp_path / "one", items(13))
    assert state(tmp_path / "one") == state(tmp_path / "c")


def test_a_changed_input_is_computed_again_and_the_old_row_is_never_shown(tmp_path: Path):
    wanted = items(12)
    computed(tmp_path / "c", wanted)
    corrected = changed(wanted, "u003", "u008")
    create_cache(tmp_path / "c").writer(spec()).plan(corrected)
    entry = open_cache(tmp_path / "c").select()
    assert "u003" not in entry and entry.missing == (
        "u003",
        "u008",
    )  # planned, not computed: the stale row is gone at once
    assert computed(tmp_path / "c", corrected) == ["u003", "u008"]
    assert_right(open_cache(tmp_path / "c").select(), corrected)
    # taken back: the old rows are still there
    assert computed(tmp_path / "c", wanted) == []
    assert_right(open_cache(tmp_path / "c").select(), wanted)
    assert open_cache(tmp_path / "c").select().input_hashes["u003"] == "a-3"


def test_failures_are_recorded_and_retried_only_on_request(tmp_path: Path):
    wanted = items(10)
    cache = write(tmp_path / "c", wanted)
    assert set(cache.select().failures) == {"u007"}
    assert computed(tmp_path / "c", wanted) == []
    assert computed(tmp_path / "c", wanted, retry_failed=True) == ["u007"]
    assert set(cache.select().failures) == {"u007"}
    writer = cache.writer(spec())
    writer.plan(wanted)
    (shard,) = writer.pending(retry_failed=True)
    writer.commit(shard, [Row("u007", values(wanted[7]))])
    entry = cache.select()
    assert not entry.failures and entry["u007"].tobytes() == values(wanted[7]).tobytes()
    assert computed(tmp_path / "c", wanted, retry_failed=True) == []


def test_a_failed_utterance_whose_input_is_mended_is_computed(tmp_path: Path):
    wanted = items(10)
    computed(tmp_path / "c", wanted)
    mended = changed(wanted, "u007")
    assert not fails(mended[7])
    assert computed(tmp_path / "c", mended) == ["u007"]
    assert not open_cache(tmp_path / "c").select().failures


def test_a_killed_retry_is_taken_up_by_the_next_run(tmp_path: Path):
    wanted = items(10)
    cache = write(tmp_path / "c", wanted)
    writer = cache.writer(spec())
    writer.plan(wanted)
    next(writer.pending(retry_failed=True))  # planned, never committed
    assert computed(tmp_path / "c", wanted) == ["u007"]
    assert computed(tmp_path / "c", wanted) == []


def test_a_second_writer_adopts_the_plan(tmp_path: Path):
    cache = create_cache(tmp_path / "c")
    first, second = cache.writer(spec()), cache.writer(spec())
    assert first.plan(items(12)).generations == second.plan(items(12)[::-1]).generations == (1,)
    assert len(list((cache.select().path / "plans").glob("*.json"))) == 1


def test_two_writers_share_the_shards(tmp_path: Path):
    cache = create_cache(tmp_path / "c")
    wanted = items(40)
    writers = [cache.writer(spec()) for _ in range(2)]
    runs = []
    for writer in writers:
        writer.plan(wanted)
        runs.append(writer.pending())
    outcomes = []
    alive = list(range(2))
    while alive:
        for number in list(alive):
            shard = next(runs[number], None)
            if shard is None:
                alive.remove(number)
                continue
            good = [item for item in shard.items if not fails(item)]
            bad = {item.id: Failure("nan", "made to fail") for item in shard.items if fails(item)}
            outcomes.append(writers[number].commit(shard, [Row(item.id, values(item)) for item in good], bad))
    assert outcomes.count("committed") == 10 and len(outcomes) < 20
    entry = cache.select()
    assert_right(entry, wanted)
    assert len(entry) == 36
    assert len(list((entry.path / "data").iterdir())) == 10  # what the loser wrote is deleted


def test_what_is_left_is_not_reckoned_again_for_every_shard(tmp_path: Path):
    """The cost of n shards grows with n: utterances are looked at once, not once per shard."""
    found = {}
    for shards in (5, 50):
        writer = create_cache(tmp_path / str(shards)).writer(spec())
        writer.plan(items(4 * shards))
        with calls(Work.__init__) as looked:
            assert len(list(writer.pending())) == shards
        found[shards] = len(looked)
    assert found[5] == found[50] <= 4


def test_a_writer_that_only_commits_reads_no_commits(tmp_path: Path):
    """A worker among many holds the plan, not what all the others have written."""
    cache, wanted = create_cache(tmp_path / "c"), items(12)
    planner = cache.writer(spec())
    planner.plan(wanted)
    shards, worker = list(planner.pending()), cache.writer(spec())

    def commit(shard: Shard) -> str:
        rows = [Row(item.id, values(item)) for item in shard.items if not fails(item)]
        return worker.commit(shard, rows, {item.id: Failure("nan") for item in shard.items if fails(item)})

    with calls(read_commit) as read:
        assert [commit(shard) for shard in (*shards, shards[1])] == ["committed"] * 3 + ["already"]
    assert not read
    assert_right(cache.select(), wanted)


def test_a_commit_does_not_list_those_of_others(tmp_path: Path):
    """A listing costs what is there: one before each commit would make each dearer than the one before."""
    writer = create_cache(tmp_path / "c").writer(spec())
    writer.plan(items(12))
    commits(tmp_path / "c", 1)
    ledger = Ledger(writer.path, spec().fingerprint)
    with calls(names) as listed:
        assert [ledger.committed((1, number)) for number in (0, 1)] == [True, False]
    assert not listed


def test_finding_what_is_left_lists_the_commits_seldom(tmp_path: Path):
    wanted = [Item(f"u{number:04d}", f"{number:032x}", SHARD_SECONDS) for number in range(512)]
    writer = create_cache(tmp_path / "c").writer(spec())
    writer.plan(wanted)
    commits(tmp_path / "c", 256)
    with calls(names) as listed:
        assert [shard.number for shard in writer.pending()] == list(range(256, 512))
    assert 10 < len(listed) < 900  # about nine for each look


def commits(root: Path, count: int) -> None:
    """Records of the first so many shards in which every utterance failed: no data, and nothing that is synced."""
    path = create_cache(root).writer(spec()).path
    for number, shard in enumerate(Ledger.read(path, spec().fingerprint).plans[1].shards[:count]):
        failures = {
            name: {"reason": "nan", "detail": "", "input_hash": input_hash}
            for name, input_hash in zip(shard.ids, shard.input_hashes, strict=True)
        }
        record = Commit(
            generation=1, shard=number, revision=0, fingerprint=spec().fingerprint, container=None, path=None,
            dtype=spec().dtype, features=spec().features, ids=(), input_hashes=(), frames=(), crc32c=(),
            special_crc32c=None, files={}, failures=failures, left_out=(), environment={}, recipe=None,
        )  # fmt: skip
        place = commit_path(path, 1, number, 0)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(record.sealed())


def test_two_processes_make_one_cache(tmp_path: Path):
    """Another one makes it between our look for the record and our look at the folder."""
    root = tmp_path / "c"
    with calls(os.listdir, lambda: create_cache(root).writer(spec()).plan(items(4))) as listed:
        cache = create_cache(root)
    assert listed and cache.select().missing == ("u000", "u001", "u002", "u003")


def test_a_commit_that_is_set_aside_meanwhile_is_work_again(tmp_path: Path):
    cache, wanted = create_cache(tmp_path / "c"), items(12)
    writer, other = (cache.writer(spec()) for _ in range(2))
    for each in (writer, other):
        each.plan(wanted)
    second = list(other.pending())[1]
    rows = [Row(item.id, values(item)) for item in second.items if not fails(item)]
    assert other.commit(second, rows, {item.id: Failure("nan") for item in second.items if fails(item)}) == "committed"
    given, commits = [], cache.select().path / "commits"
    for shard in writer.pending():
        given.append(shard.number)
        if len(given) == 1:
            for record in commits.rglob("*.json"):
                record.unlink()
    assert given == [0, 2, 1]


def test_writers_with_other_manifests_fill_each_others_gaps(tmp_path: Path):
    wanted = items(12)
    cache = create_cache(tmp_path / "c")
    big = cache.writer(spec())
    big.plan(wanted)
    assert len(computed(tmp_path / "c", wanted[:6])) == 6  # adopts the plan, leaves out u006 of shard 1
    done = []
    for shard in big.pending():
        rows = [Row(item.id, values(item)) for item in shard.items if not fails(item)]
        big.commit(shard, rows, {item.id: Failure("nan") for item in shard.items if fails(item)})
        done += [item.id for item in shard.items]
    assert sorted(done) == [item.id for item in wanted[6:]]
    assert_right(cache.select(), wanted)


def test_other_declared_inputs_are_refused_and_named(tmp_path: Path):
    write(tmp_path / "c", items(4))
    cache = create_cache(tmp_path / "c")
    before = state(tmp_path / "c")
    for changes, field in (
        ({"frame_rate": 50.0}, "frame_rate"),
        ({"features": 6}, "features"),
        ({"declared": {"weights": "xxh3:00", "rate": 8000, "windowing": {"seconds": 30}}}, "declared.rate"),
        (
            {"declared": {"weights": "xxh3:00", "rate": 16000, "windowing": {"seconds": 20}}},
            "declared.windowing.seconds",
        ),
        ({"declared": {"weights": "xxh3:00", "rate": 16000}}, "declared.windowing"),
    ):
        with pytest.raises(SpecMismatch) as caught:
            cache.writer(spec(**changes))
        assert [name for name, _, _ in caught.value.differences] == [field]
        assert f"  {field}: cache " in str(caught.value) and "--replace" in str(caught.value)
    assert state(tmp_path / "c") == before


def test_replace_begins_anew_and_can_be_taken_back(tmp_path: Path):
    wanted = items(8)
    write(tmp_path / "c", wanted)
    before = state(tmp_path / "c")
    other = spec(declared={"weights": "xxh3:ff"})
    assert len(computed(tmp_path / "c", wanted, entry=other, replace=True, shards=1)) == 4
    entry = open_cache(tmp_path / "c").select()
    assert entry.fingerprint == other.fingerprint and len(entry) == 4 and len(entry.missing) == 4
    # the old rows are hidden, not deleted, until gc
    assert computed(tmp_path / "c", wanted, replace=True) == []
    assert state(tmp_path / "c") == before


def test_an_old_writer_cannot_spoil_a_replaced_entry(tmp_path: Path):
    wanted = items(8)
    cache = create_cache(tmp_path / "c")
    old = cache.writer(spec())
    old.plan(wanted)
    shards = old.pending()
    shard = next(shards)
    write(tmp_path / "c", wanted, entry=spec(declared={"weights": "xxh3:ff"}), replace=True)
    before = state(tmp_path / "c")
    old.commit(shard, [Row(item.id, values(item) + 1) for item in shard.items])
    assert state(tmp_path / "c") == before


def test_withdrawn_utterances_are_hidden_and_not_computed_until_admitted(tmp_path: Path):
    wanted = items(12)
    write(tmp_path / "c", wanted[:8])
    cache = create_cache(tmp_path / "c")
    cache.withdraw(["u001", "u010"])
    assert "u001" not in cache.select()
    assert "u010" not in computed(tmp_path / "c", wanted)
    assert "u010" not in cache.select().missing
    writer = cache.writer(spec())
    assert writer.plan(wanted).withdrawn == 2
    cache.admit(["u001", "u010"])
    assert computed(tmp_path / "c", wanted) == ["u010"]  # the bytes of u001 were not removed, only hidden
    write(tmp_path / "one", wanted)
    assert state(tmp_path / "c") == state(tmp_path / "one")


def test_a_withdrawal_during_the_computation_wins(tmp_path: Path):
    wanted = items(4)
    cache = create_cache(tmp_path / "c")
    writer = cache.writer(spec())
    writer.plan(wanted)
    shard = next(writer.pending())
    cache.withdraw(["u002"])
    writer.commit(shard, [Row(item.id, values(item)) for item in shard.items])
    (record,) = (tmp_path / "c" / "entries").glob("*/commits/0001/*.json")
    assert cache.select().ids == ("u000", "u001", "u003")
    assert '"left_out":["u002"]' in record.read_text()


def test_wrong_rows_are_refused_before_anything_is_written(tmp_path: Path, container: str):
    writer = create_cache(tmp_path / "c").writer(spec(), container=container)
    writer.plan(items(4))
    shard = next(writer.pending())
    good = [Row(item.id, values(item)) for item in shard.items]
    for rows, failures, problem in (
        (good[:3], {}, "once each"),
        ([*good, good[0]], {}, "once each"),
        (good, {"u001": Failure("nan")}, "once each"),
        ([*good[:3], Row("other", good[3].values)], {}, "once each"),
        ([*good[:3], Row("u003", good[3].values.astype("f4"))], {}, "float32"),
        ([*good[:3], Row("u003", good[3].values[:, :4])], {}, "the entry holds"),
        ([*good[:3], Row("u003", good[3].values, good[3].values[:, 0][:-1] > 0)], {}, "its mask"),
    ):
        with pytest.raises(WrongRows, match=problem):
            writer.commit(shard, rows, failures)
    assert not list((tmp_path / "c").rglob("data/*")) and not list((tmp_path / "c").rglob("commits/*/*"))
    for wrong in ([Item("a", "h"), Item("a", "h")], [Item("a", "h", -1.0)], [Item("a", "h", float("nan"))]):
        with pytest.raises(WrongRows):
            writer.plan(wrong)
    assert writer.commit(shard, good) == "committed"
    assert writer.commit(shard, good) == "already"


def test_work_on_the_plans_on_disk_needs_no_manifest(tmp_path: Path):
    """A cluster job that only knows the cache: pending() without plan() takes what is planned."""
    wanted = items(12)
    cache = create_cache(tmp_path / "c")
    cache.writer(spec()).plan(wanted)
    writer = cache.writer(spec())
    for shard in writer.pending():
        good = [Row(item.id, values(item)) for item in shard.items if not fails(item)]
        writer.commit(shard, good, {item.id: Failure("nan") for item in shard.items if fails(item)})
    assert_right(cache.select(), wanted)
    assert len(cache.select()) == 11 and not cache.select().missing


def test_an_environment_that_is_no_json_is_refused_before_anything_is_written(tmp_path: Path):
    writer = create_cache(tmp_path / "c").writer(spec())
    writer.plan(items(1))
    shard = next(writer.pending())
    for environment in ({"device": object()}, {"loss": float("nan")}):
        with pytest.raises(WrongRows, match="environment"):
            writer.commit(shard, [Row("u000", values(shard.items[0]))], environment=environment)
    assert not list((tmp_path / "c").rglob("data/*"))


def test_a_shard_in_which_everything_failed_needs_no_data(tmp_path: Path, container: str):
    writer = create_cache(tmp_path / "c").writer(spec(), container=container)
    writer.plan(items(2))
    for shard in writer.pending():
        writer.commit(shard, [], {item.id: Failure("missing", "no file") for item in shard.items})
    entry = open_cache(tmp_path / "c").select()
    assert entry.ids == () and set(entry.failures) == {"u000", "u001"} and entry.gather([]).values.shape == (0, 5)
    assert not list((entry.path / "data").iterdir())
