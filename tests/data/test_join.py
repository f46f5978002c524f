"""Several corpora at once: what `ser data join` promises, and protocols that keep corpora apart on random manifests."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ser_base.errors import BadSettings
from ser_data.cli import main
from ser_data.corpora import CORPORA
from ser_data.errors import BadFolds, BadManifest, UnknownLabel
from ser_data.join import join
from ser_data.manifest.table import CorpusInfo, Manifest
from ser_data.protocols import Folds, make_folds

MAP = """
name = "two"
classes = ["low", "high"]

[a]
ignore = ["calm"]
low = ["sad"]
high = ["angry", "happy"]

[b]
low = ["SAD"]
high = ["ANG"]
"""
PROTOCOLS = ("corpus", "source-target", "source-target+within")


@pytest.fixture
def two(tone: Callable[..., Path], tmp_path: Path) -> dict[str, Manifest]:
    """Two corpora with the same ids, speakers and dialogues; `b` holds one file of `a` under another name."""
    made = {}
    for number, (name, labels) in enumerate({"a": ["sad", "angry", "happy", "calm"], "b": ["SAD", "ANG"]}.items()):
        rows = [
            {
                "id": f"u{i}",
                "path": str(tone(tmp_path / name / f"{i}.wav", seed=100 * number + i)),
                "label": labels[i % len(labels)],
                "speaker": f"s{i % 6}",
                "session": f"{i % 3}",
                "dialogue": f"d{i % 4}",
                "scenario": "impro01",
                "season": f"{i % 2 + 1}",
            }
            for i in range(24)
        ]
        info = CorpusInfo(name=f"corpus-{name}", title=f"Corpus {name}", licence=name, synthetic=name == "b")
        made[name] = Manifest(pd.DataFrame(rows), info)
    tone(tmp_path / "b" / "7.wav", seed=5)  # the same samples as a's fifth
    return made


@pytest.fixture
def mapped(tmp_path: Path) -> Path:
    path = tmp_path / "map.toml"
    path.write_text(MAP)
    return path


def test_names_cannot_collide_and_labels_are_accounted_for(two: dict[str, Manifest], mapped: Path):
    joined = join(two, labels=mapped)
    table = joined.manifest.table
    assert table["id"].is_unique and len(table) == 18 + 24
    for column in ("id", "speaker", "session", "dialogue", "scenario"):
        assert (table[column].str.split("/").str[0] == table["corpus"]).all()
    assert set(table["label"]) == {"low", "high"}
    assert set(table.loc[table["label"] == "high", "label_given"]) == {"angry", "happy", "ANG"}
    assert joined.lost[["corpus", "label", "utterances"]].to_numpy().tolist() == [["a", "calm", 6]]
    assert joined.labels["utterances"].sum() == sum(len(manifest) for manifest in two.values())
    assert joined.lonely == {} and joined.shared == ()
    info = joined.manifest.info
    assert info.synthetic and info.name == "corpus-a+corpus-b" and info.title == "Corpus a + Corpus b"


def test_the_same_audio_in_two_corpora_is_a_leak(two: dict[str, Manifest], mapped: Path):
    joined = join(two, labels=mapped)
    assert joined.leaks["id"].tolist() == ["a/u5", "b/u7"]
    for protocol in PROTOCOLS:
        with pytest.raises(BadFolds, match="audio_hash .* on both sides"):
            make_folds(joined.manifest, protocol)
    allowed = make_folds(joined.manifest, "corpus", allow_overlap=["audio_hash"])
    assert any("overlap allowed: audio_hash" in note for note in allowed.notes)
    clean = join(two, labels=mapped, drop_leaks=True)
    assert set(joined.manifest.table["id"]) - set(clean.manifest.table["id"]) == {"b/u7"}
    assert [problem.id for problem in clean.manifest.dropped] == ["b/u7"]
    assert make_folds(clean.manifest, "corpus").held_out == ("corpus", "speaker", "audio_hash")


def test_without_a_map_the_classes_of_one_corpus_only_are_told(two: dict[str, Manifest]):
    joined = join(two)
    assert joined.lonely["calm"] == ("a",) and joined.lonely["ANG"] == ("b",)


def test_one_corpus_split_by_a_column_shares_its_speakers(two: dict[str, Manifest], mapped: Path):
    joined = join({"a": two["a"]}, labels=mapped, split_by="season")
    assert joined.corpora == ("a-1", "a-2")
    assert joined.shared == ()  # s0, s2, s4 speak in season 1 only
    odd = Manifest(two["a"].table.assign(speaker="one"), two["a"].info)
    shared = join({"a": odd}, labels=mapped, split_by="season")
    assert shared.shared == ("a/one",)
    with pytest.raises(BadFolds, match="speaker a/one on both sides"):
        make_folds(shared.manifest, "source-target")
    folds = make_folds(shared.manifest, "source-target", allow_overlap=["speaker"])
    assert folds.held_out == ("corpus", "audio_hash") and folds.dev == "random:0.2"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("[a]\nlow = ['sad']\n", BadSettings, "has no table for the corpus 'b'"),
        ("x = 1\n[a]\n[b]\n", BadSettings, "unknown key x"),
        ("classes = ['low', 'hi']\n[a]\nlow = []\n[b]\n", BadSettings, "'classes' is"),
        ("[a]\nlow = ['sad', 'sad']\n[b]\n", BadSettings, "occurs in two places"),
        ("[a]\nlow = 'sad'\n[b]\n", BadSettings, "not a list"),
        ("[a]\nlow = ['sad']\nhigh = ['angry']\n[b]\nlow = ['SAD']\n", UnknownLabel, "calm.*happy"),
        ("[a\n", BadSettings, "cannot be read"),
    ],
)
def test_bad_maps_are_told(two: dict[str, Manifest], tmp_path: Path, text: str, error: type[Exception], said: str):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(error, match=said):
        join(two, labels=path)


def test_bad_requests_are_told(two: dict[str, Manifest]):
    with pytest.raises(BadManifest, match="1 corpus with a usable label"):
        join({"a": two["a"]})
    with pytest.raises(BadManifest, match="no corpus has the column 'sesaon'"):
        join(two, split_by="sesaon")
    with pytest.raises(BadManifest, match="is not a valid name for a corpus"):
        join({"a/b": two["a"], "b": two["b"]})


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def plain(output: str) -> str:
    """A message without the frame and the line breaks that a terminal's width gives it."""
    return " ".join(output.replace("│", " ").split())


def test_the_command_writes_what_ser_extract_reads(two: dict[str, Manifest], mapped: Path, tmp_path: Path):
    for name, manifest in two.items():
        manifest.write(tmp_path / f"{name}.parquet")
    sources = [f"{name}={tmp_path / name}.parquet" for name in two]
    done = run("join", *sources, "--labels", mapped, "--drop-leaks", "--out", tmp_path / "joint.csv")
    assert done.exit_code == 0, done.output
    assert "loses 6 of 48 utterances (12.5%)" in done.stdout and "LEAK: 2 utterances" in done.stdout
    manifest = CORPORA["csv"].read(tmp_path / "joint.csv")
    assert len(manifest) == 41 and not manifest.problems
    assert set(manifest.table["corpus"]) == {"a", "b"} and manifest.info.synthetic
    assert manifest.table["audio_hash"].notna().all()
    lost = pd.read_csv(tmp_path / "joint.labels.csv")
    assert lost["utterances"].sum() == 48 and lost["class"].isna().sum() == 1
    folds = run("folds", "csv", tmp_path / "joint.csv", "--protocol", "source-target", "--out", tmp_path / "f.csv")
    assert folds.exit_code == 0 and "out: corpus, speaker, audio_hash" in plain(folds.stdout)
    Folds.from_csv(tmp_path / "f.csv", once=False).check(manifest.table)


def test_the_command_s_errors_are_one_message(two: dict[str, Manifest], tmp_path: Path):
    two["a"].write(tmp_path / "a.parquet")
    for args, said in (
        (["a.parquet"], "is not NAME=MANIFEST"),
        ([f"a={tmp_path}/a.parquet", f"a={tmp_path}/a.parquet"], "given twice"),
        ([f"a={tmp_path}/no.parquet"], "does not exist"),
    ):
        done = run("join", *args, "--out", tmp_path / "x.csv")
        assert done.exit_code == 1 and said in plain(done.output)


def test_a_corpus_of_texts_needs_no_paths(tmp_path: Path):
    rows = [{"id": f"u{i}", "text": f"words {i}", "label": "xy"[i % 2], "season": str(i % 3)} for i in range(12)]
    manifest = Manifest(pd.DataFrame(rows), CorpusInfo(name="t", title="t", licence="none"))
    join({"t": manifest}, split_by="season").manifest.write(tmp_path / "t.csv")
    assert set(CORPORA["csv"].read(tmp_path / "t.csv").table["corpus"]) == {"t-0", "t-1", "t-2"}


@st.composite
def several(draw: st.DrawFn) -> pd.DataFrame:
    """Manifests of two to four corpora, with few or many speakers each, some unknown, some audio files doubled inside."""
    rows = []
    for c in range(draw(st.integers(2, 4))):
        speakers = draw(st.sampled_from([0, 1, 2, 3, 7, 12]))
        for i in range(draw(st.integers(max(2, speakers), 20))):
            who = f"c{c}/s{i % speakers}" if speakers else None
            sound = draw(st.sampled_from([None, f"c{c}h{i}", f"c{c}h{i - speakers if i >= speakers else i}"]))
            rows.append(
                {"id": f"c{c}/é{i}", "corpus": f"c{c}", "speaker": who, "label": "ab"[i % 2], "audio_hash": sound}
            )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=several(), seed=st.integers(0, 3), dev=st.sampled_from(["next", "none", "random:0.2"]))
def test_promises_between_corpora(protocol: str, table: pd.DataFrame, seed: int, dev: str):
    try:
        folds = make_folds(table, protocol, dev=dev, seed=seed)
    except BadFolds as error:
        assume("audio_hash" not in str(error))  # doubled sound of two speakers, within a corpus
        assert "nothing to train on" in str(error)
        return
    rows = table.set_index("id")
    corpora = sorted(table["corpus"].unique())
    tested: dict[str, int] = dict.fromkeys(table["id"], 0)
    for fold in folds.folds:
        assert not set(fold.test) & {*fold.train, *fold.dev} and not set(fold.train) & set(fold.dev)
        assert fold.train and bool(fold.dev) == (dev != "none")
        source, _, target = fold.name.partition("->")
        used, aimed = rows.loc[[*fold.train, *fold.dev]], rows.loc[list(fold.test)]
        within = target.startswith(f"{source} ")
        if protocol == "corpus":
            assert set(aimed["corpus"]) == {source} and set(used["corpus"]) == set(corpora) - {source}
        else:
            assert set(used["corpus"]) == {source} and set(aimed["corpus"]) == {target.split(" ")[0]}
        if not within:
            assert not set(used["corpus"]) & set(aimed["corpus"])
            assert set(fold.test) == set(table["id"][table["corpus"] == aimed["corpus"].iloc[0]])
        assert not set(used["speaker"].dropna()) & set(aimed["speaker"].dropna())
        assert not set(used["audio_hash"].dropna()) & set(aimed["audio_hash"].dropna())
        if folds.dev == "source-speakers":
            assert not set(rows.loc[list(fold.train), "speaker"]) & set(rows.loc[list(fold.dev), "speaker"])
        for name in fold.test:
            tested[name] += 1
    for name, count in tested.items():
        corpus = rows.loc[name, "corpus"]
        inside = protocol.endswith("within") and rows.loc[rows["corpus"] == corpus, "speaker"].nunique() > 2
        assert count == (1 if protocol == "corpus" else len(corpora) - 1 + inside)
    shuffled = make_folds(table.sample(frac=1, random_state=seed), protocol, dev=dev, seed=seed)
    assert shuffled == folds and shuffled.fingerprint == folds.fingerprint
    assert folds.once == (protocol == "corpus")
    if max(tested.values()) > 1:
        with pytest.raises(BadFolds, match="use --protocol source-target"):
            replace(folds, once=True).check(table)
