"""Every reader of somebody else's archive, on small archives in its layout."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest

import ser_data.corpora
from ser_data.corpora import CORPORA
from ser_data.corpora.meld import seconds
from ser_data.errors import BadManifest, BadRoot
from ser_data.protocols import make_folds
from ser_data.testing import check_card, check_wrong_root

FILES_THAT_ARE_NO_CORPUS = {"__init__", "base", "contained", "iemocap_files", "acted_reader"}


def read(name: str, root: Path, **options):
    return CORPORA[name].read(root, **options)


def test_every_file_of_the_folder_is_in_the_table():
    folder = Path(ser_data.corpora.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - FILES_THAT_ARE_NO_CORPUS
    used = {CORPORA.path(name).partition(":")[0].rsplit(".", 1)[-1] for name in CORPORA}
    assert files == used


@pytest.mark.parametrize("name", list(CORPORA))
def test_cards_are_complete_and_wrong_roots_are_told(name: str, tmp_path: Path):
    check_card(CORPORA[name])
    assert CORPORA[name].info.name == name
    if name != "demo":
        check_wrong_root(CORPORA[name], tmp_path)


def test_meld(tmp_path: Path, tone):
    head = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
    (tmp_path / "train_sent_emo.csv").write_text(
        head + '1,"He’s lost it, totally.",Ann,sadness,negative,0,0,4,7,"00:20:57,256","00:21:00,049"\n'
        '2,What?,Bob,surprise,negative,0,1,4,7,"00:21:01,927","00:21:01,927"\n'
        '3,No,Bob,joyful,negative,0,2,4,7,"00:21:01,927","00:21:03,261"\n'
        '4,No,Bob,joy,negative,zero,2,4,7,"00:21:01,927","00:21:03,261"\n'
        '5,Oh,Ann,joy,positive,1,0,4,7,"00:21:01,927","00:21:03,261"\n'
    )
    (tmp_path / "test_sent_emo.csv").write_text(
        head + '1,Hi,Ann,neutral,neutral,0,0,4,7,"00:00:01,000","00:00:02,500"\n'
    )
    manifest = read("meld", tmp_path)
    assert manifest.table["id"].tolist() == ["train_dia0_utt0", "train_dia0_utt1", "train_dia1_utt0", "test_dia0_utt0"]
    assert manifest.table["path"].isna().all()
    assert manifest.table["duration"].round(3).tolist()[0] == 2.793
    assert [(p.reason, p.where, p.dropped) for p in manifest.problems] == [
        ("bad span", "train_sent_emo.csv, line 3", False),
        ("unknown label", "train_sent_emo.csv, line 4", True),
        ("bad row", "train_sent_emo.csv, line 5", True),
    ]
    folds = make_folds(manifest, "official", dev="random:0.4")
    assert folds.folds[0].test == ("test_dia0_utt0",) and "dialogue" in folds.held_out
    tone(tmp_path / "train_splits" / "dia0_utt0.wav")
    tone(tmp_path / "train_splits" / "dia0_utt1.wav")
    with_audio = read("meld", tmp_path)
    assert with_audio.table["path"].notna().tolist() == [True, True, False]
    assert [p.id for p in with_audio.problems if p.reason == "missing file"] == ["train_dia1_utt0"]


def test_meld_audio_root_keeps_links_inside(tmp_path: Path, tone):
    head = "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
    rows = ["Hi,A,joy,p,0,0,1,1,0:0:1.0,0:0:2.0", "Yo,A,joy,p,0,1,1,1,0:00:01.0,0:00:02.0"]
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "train_sent_emo.csv").write_text(head + "\n".join(rows))
    tone(tmp_path / "secret.wav")
    tone(tmp_path / "audio" / "store" / "x.wav")
    (tmp_path / "audio" / "train_splits").mkdir()
    (tmp_path / "audio" / "train_splits" / "dia0_utt0.wav").symlink_to(tmp_path / "secret.wav")
    (tmp_path / "audio" / "train_splits" / "dia0_utt1.wav").symlink_to(tmp_path / "audio" / "store" / "x.wav")
    manifest = read("meld", tmp_path / "text", audio_root=tmp_path / "audio")
    assert manifest.table["id"].tolist() == ["train_dia0_utt1"]
    assert {"path escapes", "missing file"} <= {p.reason for p in manifest.problems}


def test_meld_clock():
    assert seconds("01:02:03,45") == 3723.45 and seconds("0:00:01.5") == 1.5 and seconds("1.5") is None


def test_ravdess(tmp_path: Path, tone):
    tone(tmp_path / "Actor_01" / "03-01-05-02-01-02-01.wav", 0.25)
    tone(tmp_path / "Actor_12" / "03-01-01-01-02-01-12.wav")
    tone(tmp_path / "again" / "Actor_01" / "03-01-05-02-01-02-01.wav")
    tone(tmp_path / "Actor_01" / "03-02-05-02-01-02-01.wav")
    tone(tmp_path / "Actor_01" / "noise.wav")
    tone(tmp_path / "Actor_01" / "._03-01-05-02-01-02-01.wav")
    manifest = read("ravdess", tmp_path)
    angry, neutral = manifest.utterances()
    assert (angry.label, angry.speaker, angry.gender, angry.fold, angry.duration) == ("angry", "01", "male", "1", 0.25)
    assert (neutral.label, neutral.gender, neutral.text, neutral.fold) == (
        "neutral",
        "female",
        "Dogs are sitting by the door.",
        "2",
    )
    assert sorted(p.reason for p in manifest.problems) == ["bad id", "duplicate id", "not speech"]


def test_cremad_labels_and_voice_votes(tmp_path: Path, tone):
    for name in ("1001_DFA_ANG_XX", "1001_IEO_HAP_HI", "1002_TIE_SAD_XX"):
        tone(tmp_path / "AudioWAV" / f"{name}.wav")
    (tmp_path / "AudioWAV" / "1003_TIE_SAD_XX.wav").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    (tmp_path / "processedResults").mkdir()
    (tmp_path / "processedResults" / "tabulatedVotes.csv").write_text(
        '"","A","D","F","H","N","S","fileName","numResponses"\n'
        '"100001",6,1,0,0,3,0,"1001_DFA_ANG_XX",10\n'
        '"200001",9,0,0,0,0,0,"1001_DFA_ANG_XX",9\n'
        '"100002",0,0,0,4,4,0,"1001_IEO_HAP_HI",8\n'
    )
    (tmp_path / "VideoDemographics.csv").write_text(
        "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n"
    )
    manifest = read("cremad", tmp_path)
    first, second, third = manifest.utterances()
    assert (first.label, json.loads(first.votes or "{}"), first.gender) == (
        "anger",
        {"anger": 6, "disgust": 1, "neutral": 3},
        "male",
    )
    assert second.text == "It's eleven o'clock." and third.votes is None and third.gender is None
    assert [p.reason for p in manifest.problems] == ["git-lfs pointer"]
    voted = read("cremad", tmp_path, label_from="votes")
    assert voted.table["label"].tolist() == ["anger"]
    assert [p.reason for p in voted.dropped].count("no majority") == 3


def test_emodb_letters(tmp_path: Path, tone):
    for name in ("03a01Fa", "08b10Wb", "16a05Ec", "03x01Fa"):
        tone(tmp_path / "wav" / f"{name}.wav")
    manifest = read("emodb", tmp_path)
    assert manifest.table["label"].tolist() == ["happiness", "anger", "disgust"]
    assert manifest.table["gender"].tolist() == ["male", "female", "female"]
    assert [p.id for p in manifest.dropped] == ["03x01Fa"]


def test_audiofolder_by_label_and_by_part(tmp_path: Path, tone):
    tone(tmp_path / "a" / "angry" / "1 ü.wav")
    tone(tmp_path / "a" / "calm" / "deep" / "2.wav")
    (tmp_path / "a" / "calm" / "deep" / "2.txt").write_text("All is well.\n")
    tone(tmp_path / "a" / "stray.wav")
    manifest = read("audiofolder", tmp_path / "a")
    assert manifest.table[["id", "label"]].values.tolist() == [["angry/1 ü", "angry"], ["calm/deep/2", "calm"]]
    assert manifest.table["text"].tolist() == [None, "All is well."]
    assert [p.reason for p in manifest.dropped] == ["missing label"]
    tone(tmp_path / "b" / "train" / "x" / "1.wav")
    tone(tmp_path / "b" / "validation" / "x" / "1.wav")
    assert read("audiofolder", tmp_path / "b").table["part"].tolist() == ["train", "dev"]


def test_audiofolder_metadata_stays_inside(tmp_path: Path, tone):
    tone(tmp_path / "outside.wav")
    tone(tmp_path / "in" / "clips" / "1.wav")
    (tmp_path / "in" / "link.wav").symlink_to(tmp_path / "outside.wav")
    rows = [
        "file_name,label,speaker",
        "clips/1.wav,x,p",
        "../outside.wav,x,p",
        f"{tmp_path}/outside.wav,x,p",
        "link.wav,x,p",
        "no.wav,x,p",
    ]
    (tmp_path / "in" / "metadata.csv").write_text("\n".join(rows))
    manifest = read("audiofolder", tmp_path / "in")
    assert manifest.table["id"].tolist() == ["clips/1"]
    assert [p.reason for p in manifest.dropped] == ["path escapes"] * 3 + ["missing file"]


def hf_table(tone, folder: Path) -> "object":
    import pyarrow as pa

    data = tone(folder / "source.wav").read_bytes()
    audio = [
        {"bytes": data, "path": None},
        {"bytes": None, "path": "gone.wav"},
        {"bytes": data + b"\0", "path": "x.wav"},
    ]
    features = {"features": {"label": {"_type": "ClassLabel", "names": ["calm", "angry"]}}}
    table = pa.table({"audio": audio, "label": [1, 0, 0], "transcription": ["a", "b", "c"], "speaker_id": [7, 8, 8]})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": features})})


def test_hf_parquet_and_arrow(tmp_path: Path, tone):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = hf_table(tone, tmp_path)
    (tmp_path / "p" / "data").mkdir(parents=True)
    pq.write_table(table, tmp_path / "p" / "data" / "validation-00000-of-00001.parquet")
    manifest = read("hf", tmp_path / "p", audio_dir=tmp_path / "audio")
    assert manifest.table[["label", "text", "speaker", "part"]].values.tolist() == [
        ["angry", "a", "7", "dev"],
        ["calm", "c", "8", "dev"],
    ]
    assert all(Path(path).parent == tmp_path / "audio" for path in manifest.table["path"])
    assert manifest.table["duration"].round(2).tolist() == [0.2, 0.2]
    assert [p.reason for p in manifest.dropped] == ["missing file"]
    half = Path(manifest.table["path"].iloc[0])  # as a killed writer leaves it
    whole = half.read_bytes()
    half.write_bytes(whole[:100])
    read("hf", tmp_path / "p", audio_dir=tmp_path / "audio")
    assert half.read_bytes() == whole and not list((tmp_path / "audio").glob(".*"))
    (tmp_path / "s" / "train").mkdir(parents=True)
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "s" / "train" / "data-00000-of-00001.arrow").write_bytes(buffer.getvalue())
    arrow = read("hf", tmp_path / "s", audio_dir=tmp_path / "audio", label="speaker_id")
    assert arrow.table["label"].tolist() == ["7", "8"] and set(arrow.table["part"]) == {"train"}
    with pytest.raises(BadManifest, match="no column 'mood' for label"):
        read("hf", tmp_path / "s", label="mood")


def test_audformat_csv_and_parquet(tmp_path: Path, tone):
    tone(tmp_path / "audio" / "1.wav", 0.5)
    tone(tmp_path / "secret.wav")
    root = tmp_path / "db"
    root.mkdir()
    (root / "audio").mkdir()
    tone(root / "audio" / "1.wav", 0.5)
    (root / "db.yaml").write_text(
        "name: mydb\nlicense: CC0-1.0\nsource: https://example.org\n"
        "tables:\n  files:\n    type: filewise\n    columns:\n      speaker: {}\n"
        "  segments:\n    type: segmented\n    columns:\n      emotion: {scheme_id: emotion}\n      speaker: {}\n"
    )
    segments = [
        "file,start,end,emotion,speaker",
        "audio/1.wav,0 days 00:00:00,0 days 00:00:00.200000,anger,s1",
        "audio/1.wav,0 days 00:00:00.200000,0 days 00:00:00.500000,,s1",
        "../secret.wav,0 days,0 days 00:00:01,anger,s1",
    ]
    (root / "db.segments.csv").write_text("\n".join(segments))
    manifest = read("audformat", root)
    assert manifest.info.title == "mydb" and manifest.info.licence == "CC0-1.0"
    assert manifest.table["id"].tolist() == ["audio/1", "audio/1@0.2"]
    assert manifest.table["duration"].round(3).tolist() == [0.2, 0.3]
    assert manifest.table["label"].tolist() == ["anger", None] and manifest.table["speaker"].tolist() == ["s1", "s1"]
    assert [p.reason for p in manifest.dropped] == ["path escapes"]
    frame = pd.DataFrame({"file": ["audio/1.wav"], "speaker": ["s1"]})
    frame.to_parquet(root / "db.files.parquet")
    whole = read("audformat", root, table="files", column="speaker")
    assert whole.table["label"].tolist() == ["s1"] and whole.table["duration"].tolist() == [0.5]
    with pytest.raises(
        BadManifest, match="no table with a column arousal; tables and columns are files: speaker, segments: emotion"
    ):
        read("audformat", root, column="arousal")
    (root / "db.segments.csv").unlink()
    (root / "db.segments.pkl").write_bytes(b"no")
    with pytest.raises(BadRoot, match="Pickled tables are not read"):
        read("audformat", root)


def test_files_of_one_stem_keep_their_endings(tmp_path: Path, tone):
    for name in ("happy/m.wav", "happy/m.flac", "sad/n.wav"):
        tone(tmp_path / name)
    manifest = CORPORA["audiofolder"].read(tmp_path)
    assert sorted(manifest.table["id"]) == ["happy/m.flac", "happy/m.wav", "sad/n"]
    (note,) = manifest.notes
    assert note.reason == "shared stem" and "2 files" in note.detail


def test_a_take_with_pictures_is_the_twin_of_the_sound_alone(tmp_path: Path, tone):
    for name in ("01-01-03-01-01-01-01.wav", "03-01-03-01-01-01-01.wav", "01-01-04-01-01-01-01.wav"):
        tone(tmp_path / "Actor_01" / name)
    manifest = CORPORA["ravdess"].read(tmp_path)
    assert sorted(manifest.table["id"]) == ["01-01-04-01-01-01-01", "03-01-03-01-01-01-01"]
    (twin,) = manifest.problems
    assert (twin.id, twin.reason) == ("01-01-03-01-01-01-01", "twin") and "03-01-03-01-01-01-01" in twin.detail
