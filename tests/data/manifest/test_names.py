"""One normalisation of names, whichever door a table comes through: blanks, Unicode form, unclosed quotes."""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from ser_base.errors import BadSettings
from ser_data.cli import main
from ser_data.corpora import CORPORA
from ser_data.corpora.acted import ACTED
from ser_data.errors import BadFolds, BadManifest
from ser_data.join import read_map
from ser_data.manifest.labels import read_scheme
from ser_data.manifest.table import CorpusInfo, Manifest
from ser_data.manifest.text import alike, as_name, clean_name
from ser_data.protocols import Folds
from ser_predict.errors import BadTranscripts
from ser_predict.recordings.transcripts import read_transcripts

NFC = unicodedata.normalize("NFC", "wütend")
NFD = unicodedata.normalize("NFD", "wütend")
DIRTY = f"\u200b {NFD}\u00a0"
"""A label with a zero-width space, a blank, a no-break space, and its umlaut in two characters."""


@dataclass
class Door:
    """How a reader is given a table: writes one with these labels of two rows, by speakers "Ann" and "Ann " where it has any."""

    write: Callable[[Path, list[str]], Path]
    options: dict[str, str]
    speakers: bool = True
    label: str = NFC
    """The label of both rows as it is read."""
    broken: Callable[[Path], Path] | None = None
    """Writes a table in which a quote is not closed; None where the format has no quotes of its own."""


def _tone(folder: Path, write_tone) -> None:
    for number, name in enumerate(("a", "b")):
        write_tone(folder / f"{name}.wav", seed=number)


def _csv(folder: Path, labels: list[str]) -> Path:
    rows = [f"{name}.wav,{label},{who}\n" for name, label, who in zip("ab", labels, ("Ann", "Ann "), strict=True)]
    (folder / "t.csv").write_text("path, label ,speaker\n" + "".join(rows), encoding="utf-8")
    return folder / "t.csv"


def _jsonl(folder: Path, labels: list[str]) -> Path:
    rows = [
        {"path": f"{name}.wav", "label": label, "speaker": who, "session": session}
        for name, label, who, session in zip("ab", labels, ("Ann", "Ann "), (1, 1.0), strict=True)
    ]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "t.jsonl"


def _metadata(folder: Path, labels: list[str]) -> Path:
    _csv(folder, labels)
    (folder / "metadata.csv").write_text(
        (folder / "t.csv").read_text(encoding="utf-8").replace("path", "file_name", 1), encoding="utf-8"
    )
    return folder


def _hf(folder: Path, labels: list[str]) -> Path:
    pd.DataFrame({"text": ["x", "y"], "label": labels, "speaker": ["Ann", "Ann "]}).to_parquet(
        folder / "train-0.parquet"
    )
    return folder


def _audformat(folder: Path, labels: list[str]) -> Path:
    pytest.importorskip("yaml")
    (folder / "db.yaml").write_text("name: x\ntables:\n  t:\n    columns:\n      emotion: {}\n      speaker: {}\n")
    rows = [f"{name}.wav,{label},{who}\n" for name, label, who in zip("ab", labels, ("Ann", "Ann "), strict=True)]
    (folder / "db.t.csv").write_text("file,emotion,speaker\n" + "".join(rows), encoding="utf-8")
    return folder


def _meld(folder: Path, labels: list[str]) -> Path:
    head = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID,StartTime,EndTime"
    times = '"00:00:01,000","00:00:02,000"'
    rows = [
        f"Hi,{who},{label},0,{n},{times}\n" for n, (label, who) in enumerate(zip(labels, ("Ann", "Ann "), strict=True))
    ]
    (folder / "train_sent_emo.csv").write_text(f"{head}\n" + "".join(rows), encoding="utf-8")
    return folder


def _cremad(folder: Path, labels: list[str]) -> Path:
    (folder / "AudioWAV").mkdir()
    for name in "ab":
        take = "DFA" if name == "a" else "ITS"
        (folder / f"{name}.wav").rename(folder / "AudioWAV" / f"1001_{take}_ANG_XX.wav")
    (folder / "VideoDemographics.csv").write_text(" ActorID,Age,Sex\n1001 ,40,Female\u00a0\n", encoding="utf-8")
    return folder


def _msp(folder: Path, labels: list[str]) -> Path:
    head = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    rows = [f"{name}.wav,A,4,4,4,{who},Male,Train\n" for name, who in zip("ab", ("Ann", "Ann "), strict=True)]
    (folder / "labels_consensus.csv").write_text(head + "".join(rows), encoding="utf-8")
    return folder


def _mosei(folder: Path, labels: list[str]) -> Path:
    rows = [f"{n},{name},0,0,0.1,1,1,2,1,0\n" for n, name in enumerate("ab")]
    head = ",file,index,start,end,label2a,label2b,label6,label7,split\n"
    (folder / "CMU_MOSEI_Labels.csv").write_text(head + "".join(rows), encoding="utf-8")
    return folder


def _emory(folder: Path, labels: list[str]) -> Path:
    head = "Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode,Start_Time,End_Time\n"
    rows = [f"Hi,\"['{who}']\",Sad,3,{n},1,2,00:00:01.000,00:00:02.000\n" for n, who in enumerate(("Ann", "Ann "))]
    (folder / "emorynlp_train_final.csv").write_text(head + "".join(rows), encoding="utf-8")
    return folder


def _quote(name: str, writer: Callable[[Path, list[str]], Path]) -> Callable[[Path], Path]:
    """The same table with one more row, in which a quote opens and is never closed."""

    def write(folder: Path) -> Path:
        root = writer(folder, ["x", "y"])
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write('"x,y\n')
        return root

    return write


FIXED = "file names that must match a pattern, and no cell of anybody's"
DOORS: dict[str, Door | str] = {
    "csv": Door(_csv, {}, broken=_quote("t.csv", _csv)),
    "jsonl": Door(_jsonl, {}),
    "audiofolder": Door(_metadata, {}, broken=_quote("metadata.csv", _metadata)),
    "hf": Door(_hf, {}),
    "audformat": Door(_audformat, {}, broken=_quote("db.t.csv", _audformat)),
    "meld": Door(_meld, {}, label="anger", broken=_quote("train_sent_emo.csv", _meld)),
    "cremad": Door(_cremad, {}, speakers=False, label="anger", broken=_quote("VideoDemographics.csv", _cremad)),
    "msp-podcast": Door(_msp, {}, label="anger", broken=_quote("labels_consensus.csv", _msp)),
    "cmu-mosei": Door(_mosei, {}, speakers=False, label="anger", broken=_quote("CMU_MOSEI_Labels.csv", _mosei)),
    "emorynlp": Door(_emory, {}, label="sad", broken=_quote("emorynlp_train_final.csv", _emory)),
    "iemocap": FIXED,
    **dict.fromkeys(ACTED, FIXED),
    "demo": "it writes its own table",
}


@pytest.mark.parametrize("name", list(CORPORA))
def test_every_reader_gives_clean_names_and_refuses_an_open_quote(name: str, tmp_path: Path, tone):
    door = DOORS[name]  # a new corpus needs a line
    if isinstance(door, str):
        assert name in ("iemocap", "demo", *ACTED)
        return
    folder = tmp_path / "clean"
    folder.mkdir()
    _tone(folder, tone)
    labels = ["anger ", "\u200banger\u00a0"] if name == "meld" else [DIRTY, NFC]
    manifest = CORPORA[name].read(door.write(folder, labels), **door.options)
    assert len(manifest) == 2
    assert manifest.table["label"].unique().tolist() == [door.label]
    if door.speakers:
        assert manifest.table["speaker"].unique().tolist() == ["Ann"]
    if name == "jsonl":
        assert manifest.table["session"].unique().tolist() == ["1"]
    if name == "cremad":
        assert manifest.table["gender"].unique().tolist() == ["female"]
    elif door.speakers:
        (note,) = [problem for problem in manifest.notes if problem.reason == "blanks in names"]
        assert "of speaker (as 'Ann ')" in note.detail
    if door.broken is not None:
        folder = tmp_path / "broken"
        folder.mkdir()
        _tone(folder, tone)
        with pytest.raises(BadManifest, match=r"quote that opens on line \d and is never closed"):
            CORPORA[name].read(door.broken(folder), **door.options)


def test_folder_names_are_labels_too(tmp_path: Path, tone):
    tone(tmp_path / NFD / "a.wav")
    tone(tmp_path / NFC / "b.wav", seed=1)
    manifest = CORPORA["audiofolder"].read(tmp_path)
    assert manifest.table["label"].unique().tolist() == [NFC]
    assert sorted(manifest.table["id"]) == [f"{NFC}/a", f"{NFC}/b"]
    assert all(Path(path).is_file() for path in manifest.table["path"])  # a path is no name


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_manifests_are_read_the_same_way(tmp_path: Path, suffix: str):
    table = pd.DataFrame({"id": [f" {NFD}", "b"], "label": [DIRTY, NFC], "fold": ["1 ", "1"]})
    manifest = Manifest(table, CorpusInfo(name="t", title="t", licence="x"))
    path = tmp_path / f"m.{suffix}"
    table["corpus"] = "t"
    if suffix == "csv":
        table.to_csv(path, index=False)
    else:
        manifest.table["id"], manifest.table["label"] = table["id"], table["label"]  # as an earlier version wrote it
        path.write_bytes(manifest.to_bytes())
    read = Manifest.read(path)
    assert read.table["id"].tolist() == [NFC, "b"] and read.table["label"].unique().tolist() == [NFC]
    assert read.table["fold"].unique().tolist() == ["1"]
    if suffix == "csv":
        path.write_text('id,label\n"a,x\nb,y\n')
        with pytest.raises(BadManifest, match="opens on line 2 and is never closed"):
            Manifest.read(path)


def test_ids_in_a_cache_stay_what_its_rows_are_called():
    """The manifest in a cache that an earlier version wrote: another id would not find its rows."""
    clean = Manifest(pd.DataFrame({"id": ["a"], "label": ["x"]}), CorpusInfo(name="t", title="t", licence="x"))
    clean.table["id"], clean.table["label"] = [NFD], [" x"]
    read = Manifest.from_bytes(clean.to_bytes())
    assert read.table["id"].tolist() == [NFD] and read.table["label"].tolist() == ["x"]


def test_transcripts_folds_schemes_and_maps(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text(f"Path;Text\n {NFD}.wav ; hello \nb.wav;\u200b\n", encoding="utf-8")
    found = read_transcripts(path)
    assert (found.of(f"/elsewhere/{NFC}.wav"), found.of("b.wav")) == ("hello", None)
    path.write_text('path,text\n"a.wav,hello\nb.wav,bye\n')
    with pytest.raises(BadTranscripts, match="opens on line 2"):
        read_transcripts(path)
    path.write_text("path,text\na.wav,hello,you\n")
    with pytest.raises(BadTranscripts, match="line 2: 3 fields"):
        read_transcripts(path)

    path.write_text(f"id,fold,part\n {NFD},1 ,train\nb,1,test \n", encoding="utf-8")
    (fold,) = Folds.from_csv(path).folds
    assert (fold.name, fold.train, fold.test) == ("1", (NFC,), ("b",))
    path.write_text('id,fold,part\n"a,1,train\nb,1,test\n')
    with pytest.raises(BadFolds, match="opens on line 2"):
        Folds.from_csv(path)

    scheme = tmp_path / "s.toml"
    scheme.write_text(f'ignore = ["x "]\n[classes]\n" bad" = ["{DIRTY}"]\n', encoding="utf-8")
    read = read_scheme(scheme)
    assert (read.classes, dict(read.mapping), read.ignored) == (("bad",), {NFC: "bad"}, frozenset({"x"}))
    scheme.write_text(f'[classes]\nbad = ["{NFC}", "{NFD}"]\n', encoding="utf-8")
    with pytest.raises(BadSettings, match="two places"):
        read_scheme(scheme)
    scheme.write_text(f'classes = ["bad "]\n[one]\nignore = [" x"]\n"bad" = ["{NFD}"]\n', encoding="utf-8")
    one = Manifest(pd.DataFrame({"id": ["a"], "label": [NFC]}), CorpusInfo(name="t", title="t", licence="x"))
    own = read_map(scheme, {"one": one})["one"]
    assert (own.classes, dict(own.mapping), own.ignored) == (("bad",), {NFC: "bad"}, frozenset({"x"}))


def test_votes_count_for_the_clean_label():
    table = pd.DataFrame({"id": ["a"], "label": [" x"], "votes": ['{" x": 2, "x": 1, "y": 1}']})
    (row,) = Manifest(table, CorpusInfo(name="t", title="t", licence="x")).utterances()
    assert (row.label, json.loads(row.votes or "{}")) == ("x", {"x": 3, "y": 1})


def test_the_case_label_whitespace(tmp_path: Path, tone):
    """Six speakers and three classes were twelve and six, and twelve folds shared every speaker; the guard passed."""
    lines = ["path, label, speaker, text"]
    for speaker in range(1, 7):
        for number, label in enumerate(("happy", " happy", "sad", " sad", "angry", " angry")):
            tone(tmp_path / f"{speaker}-{number}.wav", seed=10 * speaker + number)
            lines.append(f"{speaker}-{number}.wav,{label},0{speaker}{'' if number % 2 else ' '},hi")
    (tmp_path / "corpus.csv").write_text("\n".join(lines))
    root = str(tmp_path / "corpus.csv")
    manifest = CORPORA["csv"].read(Path(root))
    assert (manifest.table["label"].nunique(), manifest.table["speaker"].nunique()) == (3, 6)
    validated = CliRunner().invoke(main, ["validate", "csv", root])
    assert validated.exit_code == 0 and "valid, 1 note" in validated.output
    assert "blanks were removed" in " ".join(validated.output.split()) and "36 cells" in " ".join(
        validated.output.split()
    )
    made = CliRunner().invoke(
        main, ["folds", "csv", root, "--protocol", "speaker", "--out", str(tmp_path / "folds.csv")]
    )
    assert made.exit_code == 0, made.output
    folds = Folds.from_csv(tmp_path / "folds.csv", held_out=("speaker",))
    folds.check(manifest.table)
    assert len(folds.folds) == 6


def test_a_blank_label_is_missing(tmp_path: Path, tone):
    tone(tmp_path / "a.wav")
    (tmp_path / "t.csv").write_text("path,label\na.wav,\u200b\u00a0\n", encoding="utf-8")
    manifest = CORPORA["csv"].read(tmp_path / "t.csv")
    assert manifest.table["label"].tolist() == [None]
    assert [problem.reason for problem in manifest.problems] == ["missing label", "blanks in names"]


def test_names_that_look_alike_are_told_together(tmp_path: Path, tone):
    tone(tmp_path / "a.wav")
    tone(tmp_path / "b.wav", seed=1)
    (tmp_path / "t.csv").write_text(
        "path,label,speaker\na.wav,Very happy,Ann\nb.wav,very\u00a0Happy,bob\n", encoding="utf-8"
    )
    told = CliRunner().invoke(main, ["validate", "csv", str(tmp_path / "t.csv")]).output
    assert "valid, 1 note" in told and "names alike" in told and "'Very happy'" in told


def test_clean_names():
    assert clean_name(f"\ufeff\u2028 {NFD} b\u00a0\u200b") == f"{NFC} b"
    assert clean_name("a\u200db") == "a\u200db"  # joiners inside of a word are letters to some scripts
    assert [as_name(value) for value in (1, 1.0, "1.0", None, float("nan"), "\u2060", True)] == [
        "1", "1", "1.0", None, None, None, "True",
    ]  # fmt: skip
    assert alike(["Ann", "ann ", "bob", NFC, NFD, "B ob"]) == [("Ann", "ann "), ("B ob", "bob"), (NFD, NFC)]
