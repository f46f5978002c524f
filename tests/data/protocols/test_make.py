"""What every protocol promises, on random manifests: disjoint parts, every id tested once, no matter the order of rows."""

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_base.errors import UnknownName
from ser_data.errors import BadFolds, BadManifest, CorpusError, MissingColumn
from ser_data.protocols import PROTOCOLS, Folds, make_folds
from ser_data.protocols.given import S3PRL_LABELS
from ser_data.protocols.groups import IEMOCAP_GROUPS, scenario_groups

LABELS = ["neu", "hap", "exc", "ang", "sad", "fru", "xxx", None]
SCENARIOS = sorted(name for group in IEMOCAP_GROUPS for name in group)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Manifests of many shapes: few or many sessions, speakers inside sessions or across, columns with gaps."""
    count = draw(st.integers(1, 60))
    sessions = draw(st.integers(1, 12))
    nested = draw(st.booleans())
    scenarios = draw(st.sampled_from([SCENARIOS, [f"scène {i}" for i in range(9)], ["one"]]))
    numbers = st.lists(st.integers(0, 10_000), min_size=count, max_size=count)
    a, b, c, d = (draw(numbers) for _ in range(4))
    session = [str(x % sessions) for x in a]
    table = pd.DataFrame(
        {
            "id": [f"u{i:02d}-é" for i in range(count)],
            "corpus": draw(st.sampled_from(["iemocap", "own"])),
            "session": session,
            "speaker": [f"{s}{'FM'[x % 2]}" if nested else f"p{x % 7}" for s, x in zip(session, b, strict=True)],
            "scenario": [scenarios[x % len(scenarios)] for x in c],
            "label": [LABELS[x % len(LABELS)] for x in d],
            "fold": [str(x % 4) for x in b],
            "part": [("train", "train", "dev", "test", None)[x % 5] for x in c],
            "dialogue": None,
        }
    )
    for gap in draw(st.sets(st.sampled_from(["session", "speaker", "scenario", "fold", "part"]), max_size=2)):
        table.loc[table.index[:: draw(st.integers(1, 3))], gap] = None
    return table


def expected_tests(table: pd.DataFrame, protocol: str) -> set[str]:
    """The ids that a protocol must test, said independently of its code."""
    if protocol == "s3prl-er":
        return set(table["id"][table["label"].isin(S3PRL_LABELS)])
    if protocol == "official-5" or (protocol == "official" and table["part"].notna().any()):
        return set(table["id"][table["part"] == "test"])
    if protocol in ("manifest", "official") and table["fold"].notna().any():
        return set(table["id"][table["fold"].notna()])
    if protocol == "manifest":
        return set(table["id"][table["part"] == "test"])
    return set(table["id"])


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    table=tables(),
    dev=st.sampled_from(["next", "next", "none", "random:0.2", "speaker", "partner"]),
    seed=st.integers(0, 3),
)
def test_promises(protocol: str, table: pd.DataFrame, dev: str, seed: int):
    try:
        folds = make_folds(table, protocol, dev=dev, seed=seed)
    except CorpusError as error:
        assert len(str(error).splitlines()) >= 2  # what failed, and what to do
        with pytest.raises(type(error)):
            make_folds(table.sample(frac=1, random_state=seed), protocol, dev=dev, seed=seed)
        return
    tested = [name for fold in folds.folds for name in fold.test]
    assert len(tested) == len(set(tested)) * (1 if folds.once else len(folds.folds))
    assert set(tested) == expected_tests(table, protocol)
    rows = table.set_index("id")
    for fold in folds.folds:
        parts = [set(fold.train), set(fold.dev), set(fold.test)]
        assert parts[0] and parts[2] and bool(parts[1]) == (dev != "none")
        assert len(parts[0] | parts[1] | parts[2]) == sum(map(len, parts))
        assert list(fold.train) == sorted(fold.train) and list(fold.test) == sorted(fold.test)
        for key in folds.held_out:
            used = set(rows.loc[[*fold.train, *fold.dev], key])
            assert not used & set(rows.loc[list(fold.test), key])
    promised = PROTOCOLS[protocol].held_out or ()
    assert {key for key in promised if table[key].notna().all()} <= set(folds.held_out) | set(
        PROTOCOLS["random"].held_out or ()
    )
    shuffled = make_folds(table.sample(frac=1, random_state=seed), protocol, dev=dev, seed=seed)
    assert shuffled == folds and shuffled.fingerprint == folds.fingerprint


def corpus(sessions: int = 5, per: int = 6) -> pd.DataFrame:
    """IEMOCAP in small: `sessions` with two speakers each, every scenario in every session."""
    rows = [
        {"id": f"Ses{s}_{scene}_{who}{i}", "corpus": "iemocap", "session": str(s), "speaker": f"{s}{who}", "scenario": scene,
         "label": ["neu", "ang", "sad", "hap", "exc", "fru"][i % 6], "dialogue": f"Ses{s}_{scene}"}
        for s in range(1, sessions + 1) for scene in SCENARIOS for who in "FM" for i in range(per)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def values(table: pd.DataFrame, ids: tuple[str, ...], key: str) -> set[str]:
    return set(table.set_index("id").loc[list(ids), key])


def test_session_develops_on_the_next_session():
    table = corpus()
    folds = make_folds(table, "session")
    assert [fold.name for fold in folds.folds] == ["1", "2", "3", "4", "5"]
    assert folds.held_out == ("session", "speaker") and folds.dev == "next"
    assert values(table, folds.folds[4].dev, "session") == {"1"}
    assert values(table, folds.folds[0].train, "session") == {"3", "4", "5"}


def test_sessions_are_in_natural_order():
    table = corpus(sessions=11)
    assert [fold.name for fold in make_folds(table, "session").folds] == [str(i) for i in range(1, 12)]


def test_speaker_develops_on_the_partner_and_trains_on_the_eight_others():
    table = corpus()
    folds = make_folds(table, "speaker")
    assert len(folds.folds) == 10 and folds.dev == "partner"
    for fold in folds.folds:
        (tested,) = values(table, fold.test, "speaker")
        assert values(table, fold.dev, "speaker") == {tested[0] + {"F": "M", "M": "F"}[tested[1]]}
        assert len(values(table, fold.train, "speaker")) == 8


def test_dev_speaker_leaves_the_partner_in_training():
    table = corpus()
    fold = make_folds(table, "session", dev="speaker").folds[0]
    assert values(table, fold.dev, "speaker") == {"2F"}
    assert "2M" in values(table, fold.train, "speaker")


def test_scenario_groups_are_the_issue_s():
    folds = make_folds(corpus(), "scenario")
    table = corpus()
    assert values(table, folds.folds[0].test, "scenario") == {"impro06", "impro07", "script01_1"}
    assert values(table, folds.folds[4].test, "scenario") == {"impro02", "impro05", "script03_1"}
    assert values(table, folds.folds[4].dev, "scenario") == {"impro06", "impro07", "script01_1"}
    assert folds.held_out == ("scenario",)


def test_session_scenario_has_25_cells_that_hold_both_out():
    table = corpus()
    folds = make_folds(table, "session+scenario")
    assert len(folds.folds) == 25 and folds.held_out == ("session", "scenario", "speaker")
    cell = next(fold for fold in folds.folds if fold.name == "5+g2")
    assert values(table, cell.test, "session") == {"5"}
    assert values(table, cell.dev, "session") == {"1"}
    assert values(table, cell.train, "session") == {"2", "3", "4"}
    tested = values(table, cell.test, "scenario")
    assert tested == {"impro08", "script01_2", "script02_2"}
    assert values(table, cell.train, "scenario") == values(table, cell.dev, "scenario") == set(SCENARIOS) - tested


def test_a_missing_scenario_in_one_session_is_fine_and_an_empty_cell_is_told():
    table = corpus()
    assert (
        len(make_folds(table[~((table.session == "1") & (table.scenario == "impro08"))], "session+scenario").folds)
        == 25
    )
    without = table[~((table.session == "1") & table.scenario.isin(IEMOCAP_GROUPS[1]))]
    folds = make_folds(without, "session+scenario")
    assert len(folds.folds) == 24 and any("1+g2 has nothing to test" in note for note in folds.notes)


def test_other_corpora_get_groups_of_like_size_by_counts_only():
    column = pd.Series(["a"] * 10 + ["b"] * 9 + ["c"] * 8 + ["d"] * 3 + ["e"] * 3 + ["f"] * 2 + ["g"])
    groups = scenario_groups(column)
    assert groups == scenario_groups(column.sample(frac=1, random_state=3))
    sizes = column.map(groups).value_counts()
    assert len(sizes) == 5 and sizes.max() <= 10


def test_a_part_of_iemocap_with_few_of_its_groups_is_grouped_anew():
    folds = make_folds(corpus()[lambda t: t["scenario"].isin(["impro06", "impro07", "script01_1"])], "session+scenario")
    assert len(folds.folds) == 15


def test_random_warns_and_is_stratified():
    table = corpus()
    folds = make_folds(table, "random", seed=1)
    assert "+4.0 points" in folds.notes[0] and folds.held_out == ()
    counts = [pd.Series([table.set_index("id").label[i] for i in fold.test]).value_counts() for fold in folds.folds]
    assert max(c.max() for c in counts) - min(c.min() for c in counts) <= 1
    assert folds != make_folds(table, "random", seed=2)


def test_s3prl_uses_four_classes_and_a_random_fifth():
    table = corpus()
    folds = make_folds(table, "s3prl-er")
    assert folds.dev == "random:0.2"
    fold = folds.folds[0]
    assert "fru" not in values(table, fold.test + fold.train + fold.dev, "label")
    assert len(fold.dev) == round(0.2 * (len(fold.dev) + len(fold.train)))


@pytest.mark.parametrize(("sessions", "dev", "works"), [(2, "next", False), (2, "random:0.2", True), (2, "none", True), (1, "none", False)])  # fmt: skip
def test_few_sessions_work_or_say_why(sessions: int, dev: str, works: bool):
    if works:
        assert len(make_folds(corpus(sessions), "session", dev=dev).folds) == sessions
    else:
        with pytest.raises(BadFolds, match="nothing to train on|have the same session"):
            make_folds(corpus(sessions), "session", dev=dev)


def test_a_missing_column_names_what_is_there_and_what_would_work():
    table = corpus().assign(session=None)
    with pytest.raises(MissingColumn) as caught:
        make_folds(table, "session+scenario")
    text = str(caught.value)
    assert "needs the column 'session'; 900 of 900" in text
    assert "Filled columns: speaker, scenario, dialogue" in text
    assert "--protocol speaker, speaker-5, scenario, random" in text


def test_the_guard_refuses_a_shared_speaker_unless_allowed():
    table = corpus()
    table.loc[table["session"] == "2", "speaker"] = "1F"
    with pytest.raises(BadFolds, match="speaker 1F on both sides.*\n.*--allow-overlap speaker"):
        make_folds(table, "session")
    folds = make_folds(table, "session", allow_overlap=["speaker"])
    assert folds.held_out == ("session",)
    assert "overlap allowed: speaker (2 of 5 folds share up to 1)" in folds.notes
    with pytest.raises(BadFolds, match="only session, speaker are held out"):
        make_folds(table, "session", allow_overlap=["scenario"])


def test_unknown_names():
    with pytest.raises(UnknownName, match="Did you mean 'session'"):
        make_folds(corpus(), "sesion")
    with pytest.raises(BadFolds, match="Did you mean 'partner'"):
        make_folds(corpus(), "speaker", dev="partnr")
    with pytest.raises(BadFolds, match="between 0 and 1"):
        make_folds(corpus(), "speaker", dev="random:2")
    with pytest.raises(BadFolds, match="is for the protocol 'speaker'"):
        make_folds(corpus(), "session", dev="partner")
    with pytest.raises(BadManifest, match="no utterance"):
        make_folds(corpus().iloc[:0], "session")
    with pytest.raises(BadManifest, match="more than once"):
        make_folds(pd.concat([corpus(), corpus()]), "session")


def test_given_folds_say_what_they_hold_out():
    table = corpus().assign(fold=lambda t: t["session"], part=None)
    folds = make_folds(table, "manifest")
    assert folds.held_out == ("session", "speaker", "dialogue")
    assert "not held out: scenario (15 on both sides)" in folds.notes[0]
    split = corpus().assign(fold=None, part=lambda t: t["session"].map({"1": "test", "2": "dev"}).fillna("train"))
    official = make_folds(split, "official")
    assert [len(f.test) for f in official.folds] == [180] and official.dev == "official"
    with pytest.raises(BadFolds, match="no development part of its own"):
        make_folds(split.replace({"part": {"dev": "train"}}), "official")
    assert len(make_folds(split.replace({"part": {"dev": "train"}}), "official", dev="speaker").folds[0].dev) == 90


def test_csv_round_trip_and_refusals(tmp_path):
    folds = make_folds(corpus(), "session+scenario")
    folds.to_csv(tmp_path / "folds.csv")
    assert (tmp_path / "folds.csv").read_text().splitlines()[0] == "id,fold,part"
    again = Folds.from_csv(tmp_path / "folds.csv", protocol=folds.protocol, dev=folds.dev, held_out=folds.held_out)
    assert again == folds and again.fingerprint == folds.fingerprint
    again.check(corpus())
    with pytest.raises(BadFolds, match="ids are not in the manifest"):
        again.check(corpus().iloc[1:])
    for text, message in [
        ("id,part\na,train\n", "It needs id, fold and part"),
        ("id,fold,part\na,1,trian\n", "line 2: unknown part 'trian'"),
        ("id,fold,part\na,1,train\na,1,test\n", "line 3: a occurs twice"),
    ]:
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(BadFolds, match=message):
            Folds.from_csv(tmp_path / "bad.csv")
    (tmp_path / "leak.csv").write_text("id,fold,part\nx,1,train\ny,1,test\nx,2,test\ny,2,train\n")
    leak = Folds.from_csv(tmp_path / "leak.csv", held_out=("speaker",))
    with pytest.raises(BadFolds, match="speaker p on both sides"):
        leak.check(pd.DataFrame({"id": ["x", "y"], "speaker": ["p", "p"]}))


def with_copies(marked: bool = True) -> pd.DataFrame:
    """90 utterances of 6 speakers, each with two perturbed copies."""
    clean = corpus(3, per=1).assign(source=lambda t: t["id"], perturbation="none")
    copies = [clean.assign(id=clean["id"] + f"~{name}", perturbation=name) for name in ("snr10", "mp3")]
    table = pd.concat([clean, *copies], ignore_index=True)
    return table if marked else table.drop(columns="perturbation")


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize(("protocol", "dev"), [("random", "next"), ("session", "random:0.2"), ("official-5", "next")])
def test_versions_of_one_original_are_on_one_side(protocol: str, dev: str, marked: bool):
    table = with_copies(marked)
    if protocol == "official-5":  # nothing but single utterances to draw its development parts by
        part = table["session"].map({"1": "test"}).fillna("train")
        table = table.assign(part=part, dialogue=None, speaker=None)
    folds = make_folds(table, protocol, dev=dev)
    assert "source" in folds.held_out
    source = dict(zip(table["id"], table["source"], strict=True))
    for fold in folds.folds:
        train, develop, test = ({source[name] for name in part} for part in (fold.train, fold.dev, fold.test))
        assert not train & develop and not train & test and not develop & test
        assert len(fold.train) == 3 * len(train) and len(fold.dev) == 3 * len(develop) > 0


def test_an_original_on_both_sides_is_refused_unless_allowed():
    table = with_copies()
    moved = table["id"].str.endswith("~mp3") & (table["session"] == "1")
    table.loc[moved, ["session", "speaker"]] = ["2", "2F"]
    with pytest.raises(BadFolds, match="source .* on both sides"):
        make_folds(table, "session")
    assert "source" not in make_folds(table, "session", allow_overlap=["source"]).held_out
    given = make_folds(table.assign(fold=table["session"]), "manifest")
    assert "source (" in given.notes[0].partition("not held out")[2]


def test_a_column_source_that_names_no_utterance_is_not_about_copies():
    table = corpus()
    assert make_folds(table.assign(source="television"), "random") == make_folds(table, "random")
