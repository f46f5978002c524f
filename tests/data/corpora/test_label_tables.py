"""Corpora whose labels stand in tables: MSP-Podcast, CMU-MOSEI, EmoryNLP, each on a folder of the published grammar."""

import json
from pathlib import Path

import pytest

from ser_base.errors import UnknownName
from ser_data.corpora import CORPORA
from ser_data.errors import BadRoot
from ser_data.manifest.labels import resolve_scheme
from ser_data.manifest.table import Manifest
from ser_data.protocols import make_folds
from ser_data.recognise import recognise
from ser_data.validate.published import PUBLISHED

MSP = """FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-PODCAST_0001_0008.wav,N,3.6,4.0,4.2,127,Female,Test1
MSP-PODCAST_0002_0033.wav,X,4.0,3.2,4.8,Unknown,Male,{dev}
MSP-PODCAST_0003_0001.wav,U,5.0,5.0,5.0,9,Female,Train
MSP-PODCAST_0003_0002.wav,C,5.0,2.0,5.0,9,Female,Train
MSP-PODCAST_0004_0001.wav,H,5.0,5.0,5.0,3,Male,Test2
MSP-PODCAST_0005_0001.wav,Q,5.0,5.0,5.0,3,Male,Train
MSP-PODCAST_0005_0002.wav,A,high,5.0,5.0,3,Male,Train
"""


def reasons(manifest: Manifest) -> list[tuple[str, str]]:
    return [(problem.id, problem.reason) for problem in manifest.problems]


@pytest.mark.parametrize(("name", "dev"), [("consensus", "Development"), ("concensus", "Validation")])
def test_msp_podcast(name: str, dev: str, tmp_path: Path, tone):
    (tmp_path / "Labels").mkdir()
    (tmp_path / "Labels" / f"labels_{name}.csv").write_text(MSP.format(dev=dev))
    for number in ("0001_0008", "0002_0033", "0003_0001", "0004_0001"):
        tone(tmp_path / "Audios" / f"MSP-PODCAST_{number}.wav")
    (tmp_path / "Transcripts").mkdir()
    (tmp_path / "Transcripts" / "MSP-PODCAST_0001_0008.txt").write_text("well\nyes\n")
    manifest = CORPORA["msp-podcast"].read(tmp_path)
    rows = {row.id.removeprefix("MSP-PODCAST_"): row for row in manifest.utterances()}
    assert {id: (row.label, row.speaker, row.gender, row.part) for id, row in rows.items()} == {
        "0001_0008": ("neutral", "127", "female", "test"),
        "0002_0033": ("no-agreement", None, "male", "dev"),
        "0003_0001": ("surprise", "9", "female", "train"),
        "0004_0001": ("happiness", "3", "male", None),
    }
    first = rows["0001_0008"]
    assert (first.arousal, first.valence, first.dominance, first.text, first.dialogue) == (
        3.6, 4.0, 4.2, "well yes", "MSP-PODCAST_0001",
    )  # fmt: skip
    assert first.duration == pytest.approx(0.2)
    assert reasons(manifest) == [
        ("MSP-PODCAST_0005_0001", "unknown label"), ("", "bad row"), ("MSP-PODCAST_0003_0002", "missing file"),
    ]  # fmt: skip
    assert recognise(tmp_path)[0].corpus == "msp-podcast"
    kept = resolve_scheme(None, manifest).apply(manifest.table["label"])
    assert kept.notna().sum() == 3, "without the one on which the raters do not agree"
    other = CORPORA["msp-podcast"].read(tmp_path, test="Test2", durations=False)
    assert [row.part for row in other.utterances()] == [None, "dev", "train", "test"]
    with pytest.raises(UnknownName, match="Test1"):
        CORPORA["msp-podcast"].read(tmp_path, test="Test")


def test_cmu_mosei(tmp_path: Path, tone):
    import h5py

    (tmp_path / "CMU_MOSEI_Labels.csv").write_text(
        ",file,index,start,end,label2a,label2b,label6,label7,split\n"
        "0,-3g5yACwYnA,0,-0.4,1.5,1,1,0,1,0\n"
        "1,-3g5yACwYnA,1,1.5,2.25,1,1,2,1,0\n"
        "2,03bSnISJMiM,0,0,1,0,-1,5,-3,2\n"
        "3,lost,0,0,1,0,-1,1,-1,1\n"
        "4,03bSnISJMiM,1,0,1,0,-1,9,-3,3\n"
    )
    audio = tmp_path / "Raw/Audio/Full/WAV_16000"
    for video in ("-3g5yACwYnA", "03bSnISJMiM"):
        tone(audio / f"{video}.wav", seconds=2.5)
    words = tmp_path / "Raw/Transcript/Segmented/Combined/-3g5yACwYnA.txt"
    words.parent.mkdir(parents=True)
    words.write_text("-3g5yACwYnA___7___1.5___2.25___I____do like it\n")
    assert recognise(tmp_path)[0].corpus == "cmu-mosei"
    alone = CORPORA["cmu-mosei"].read(tmp_path)
    assert [(row.id, row.label, row.valence, row.part) for row in alone.utterances()] == [
        ("-3g5yACwYnA_0", "happiness", 1.0, "train"), ("-3g5yACwYnA_1", "anger", 1.0, "train"),
        ("03bSnISJMiM_0", "fear", -3.0, "test"),
    ]  # fmt: skip
    assert reasons(alone) == [("", "missing label"), ("lost_0", "missing file"), ("", "bad row")]
    first, second, _ = alone.utterances()
    assert (first.start, first.end, second.start, second.text) == (0.0, 1.5, 1.5, "I____do like it")
    with h5py.File(tmp_path / "CMU_MOSEI_Labels.csd", "w") as file:
        for video, rows in {
            "-3g5yACwYnA": [[0.7, *[0] * 6], [1.3, 0, 0, 1, 0, 0, 0]],
            "03bSnISJMiM": [[-3, *[1] * 6]] * 2,
        }.items():
            file[f"All Labels/data/{video}/features"] = rows
        file["All Labels/data/lost/features"] = [[0.0] * 7]
    exact = CORPORA["cmu-mosei"].read(tmp_path)
    assert [(row.label, round(row.valence or 0, 3)) for row in exact.utterances()] == [
        ("neutral", 0.7), ("anger", 1.3), ("fear", -3.0),
    ]  # fmt: skip
    counted = PUBLISHED["cmu-mosei"][1]
    assert counted(alone.table)["happiness or neutral"] == counted(exact.table)["happiness or neutral"] == 1
    with pytest.raises(BadRoot, match=r"CMU_MOSEI_Labels\.csv of s3prl"):
        CORPORA["cmu-mosei"].read(audio)


def emory(number: int, emotion: str = "Joyful") -> dict[str, object]:
    return {
        "utterance_id": f"s01_e02_c03_u{number:03}", "speakers": ["Joey Tribbiani", "Ross Geller"], "emotion": emotion,
        "transcript": "Yeah, right!", "tokens": [["Yeah"]],
    }  # fmt: skip


def test_emorynlp_from_either_publication(tmp_path: Path):
    authors, copy = tmp_path / "authors", tmp_path / "copy"
    (authors / "json").mkdir(parents=True)
    copy.mkdir()
    for part, numbers in {"trn": (1, 2, 2), "dev": (3,), "tst": (4, 5)}.items():
        spoken = [emory(number, "Glad" if number == 5 else "Joyful") for number in numbers]
        content = {"episodes": [{"scenes": [{"utterances": spoken}]}]}
        (authors / f"json/emotion-detection-{part}.json").write_text(json.dumps(content))
    for number, part in enumerate(("train", "dev", "test"), 1):
        (copy / f"emorynlp_{part}_final.csv").write_text(
            "Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode,Start_Time,End_Time\n"
            f"\"Yeah, right!\",\"['Joey Tribbiani', 'Ross Geller']\",Joyful,3,{number},1,2,00:00:03.795,00:00:05.004\n"
        )
    first, second = CORPORA["emorynlp"].read(authors), CORPORA["emorynlp"].read(copy)
    assert reasons(first) == [("s01_e02_c03_u002", "duplicate id"), ("s01_e02_c03_u005", "unknown label")]
    assert [(row.id, row.part) for row in first.utterances()] == [
        (f"s01_e02_c03_u{number:03}", part) for number, part in enumerate(("train", "train", "dev", "test"), 1)
    ]
    assert {recognise(place)[0].corpus for place in (authors, copy)} == {"emorynlp"}
    mine, theirs = next(first.utterances()), next(second.utterances())
    assert mine == theirs and mine.speaker == "Joey Tribbiani, Ross Geller" and mine.dialogue == "s01_e02_c03"
    assert make_folds(second, "official").folds[0].dev == ("s01_e02_c03_u002",)
    with pytest.raises(BadRoot, match="emotion-detection-trn"):
        CORPORA["emorynlp"].read(tmp_path)


@pytest.mark.parametrize("name", ["cmu-mosei", "emorynlp"])
def test_published_counts_add_up(name: str):
    cells = PUBLISHED[name][0]
    whole = cells["all utterances"]
    parts = [count for cell, count in cells.items() if cell.endswith(", all")]
    labels = [count for cell, count in cells.items() if cell != "all utterances" and not cell.endswith(", all")]
    assert sum(labels) == whole and sum(parts) == whole - (399 if name == "cmu-mosei" else 0)
