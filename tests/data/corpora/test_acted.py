"""Acted corpora that are read from their file names alone: each grammar on names as published, and on names that are not."""

from pathlib import Path

import pytest

from ser_data.corpora import CORPORA
from ser_data.corpora.acted import ACTED
from ser_data.errors import BadRoot
from ser_data.recognise import recognise

# file -> speaker, gender, label, text (None where the corpus has none here)
NAMES: dict[str, dict[str, tuple[str, str | None, str, str | None]]] = {
    "emodb": {"wav/03a01Fa.wav": ("03", "male", "happiness", "Der Lappen liegt auf dem Eisschrank.")},
    "ravdess": {
        "Actor_01/03-01-05-02-01-02-01.wav": ("01", "male", "angry", "Kids are talking by the door."),
        "Actor_24/03-01-01-01-02-01-24.wav": ("24", "female", "neutral", "Dogs are sitting by the door."),
    },
    "savee": {
        "AudioData/DC/sa01.wav": ("DC", "male", "sadness", None),
        "AudioData/KL/su15.wav": ("KL", "male", "surprise", None),
        "flat/JE_a03.wav": ("JE", "male", "anger", None),
        "flat/JK_n30.wav": ("JK", "male", "neutral", None),
    },
    "tess": {
        "OAF_angry/OAF_back_angry.wav": ("OAF", "female", "anger", "Say the word back."),
        "OAF_neutral/OA_bite_neutral.wav": ("OAF", "female", "neutral", "Say the word bite."),
        "YAF_ps/YAF_yes_ps.wav": ("YAF", "female", "surprise", "Say the word yes."),
    },
    "emovo": {
        "f1/dis-f1-b1.wav": ("f1", "female", "disgust", None),
        "m3/tri-m3-n5.wav": ("m3", "male", "sadness", None),
    },
    "cafe": {
        "Colère/Fort/01-C-2-1.wav": ("01", "male", "anger", "Un cheval fou dans mon jardin"),
        "Neutre/12-N-1-6.aiff": ("12", "female", "neutral", "Six ours aimants domestiqués"),
    },
    "shemo": {
        "female/F01A01.wav": ("F01", "female", "anger", None),
        "male/M56W09.wav": ("M56", "male", "surprise", None),
    },
    "aesdd": {"anger/a01 (1).wav": ("1", None, "anger", None), "sadness/s20 (6)b.wav": ("6", None, "sadness", None)},
    "subesco": {
        "F_01_OISHI_S_1_ANGRY_1.wav": ("F01", "female", "anger", None),
        "M_10_X_S_10_SURPRISE_5.wav": ("M10", "male", "surprise", None),
    },
    "jl-corpus": {
        "female1_angry_10a_1.wav": ("female1", "female", "angry", None),
        "male2_encouraging_15b_2.wav": ("male2", "male", "encouraging", None),
    },
    "esd": {
        "0011/Angry/0011_000351.wav": ("0011", None, "anger", None),
        "0001/Surprise/train/0001_001401.wav": ("0001", None, "surprise", None),
    },
    "nemo": {
        "samples/WR0_surprised_64.wav": ("WR0", None, "surprise", None),
        "samples/EB0_neutral_1.wav": ("EB0", None, "neutral", None),
    },
}


@pytest.mark.parametrize("name", list(ACTED))
def test_names_as_published_are_read_and_others_are_listed(name: str, tmp_path: Path, tone):
    for file in NAMES[name]:
        tone(tmp_path / file.replace(".aiff", ".wav"))
    tone(tmp_path / "not a name.wav")
    manifest = CORPORA[name].read(tmp_path)
    found = {
        str(Path(one.path).relative_to(tmp_path)): (one.speaker, one.gender, one.label, one.text)
        for one in manifest.utterances()
    }
    assert recognise(tmp_path)[0].corpus == name
    assert found == {file.replace(".aiff", ".wav"): facts for file, facts in NAMES[name].items()}
    assert [(problem.id, problem.reason) for problem in manifest.dropped] == [("not a name", "bad id")]
    assert all(one.duration for one in manifest.utterances())


@pytest.mark.parametrize("name", list(ACTED))
def test_another_folder_is_refused_with_the_grammar(name: str, tmp_path: Path, tone):
    tone(tmp_path / "speech.wav")
    with pytest.raises(BadRoot, match="as "):
        CORPORA[name].read(tmp_path)


def test_a_copy_in_a_second_folder_is_a_duplicate(tmp_path: Path, tone):
    tone(tmp_path / "DC" / "a01.wav")
    tone(tmp_path / "again" / "DC_a01.wav")
    manifest = CORPORA["savee"].read(tmp_path)
    assert len(manifest) == 1 and [problem.reason for problem in manifest.dropped] == ["duplicate id"]


def test_tables_beside_the_recordings_give_words(tmp_path: Path, tone):
    for file in ("esd/0011/Sad/0011_001051.wav", "esd/0001/Happy/0001_000701.wav", "nemo/samples/WR0_anger_1.wav"):
        tone(tmp_path / file)
    (tmp_path / "esd/0011/0011.txt").write_text('\ufeff0011_001051\tThe nine "chairs".\tSad\n\n')
    (tmp_path / "esd/0001/0001.txt").write_bytes("0001_000701\t打远一看\t快乐\n".encode("gbk"))
    (tmp_path / "nemo/data.tsv").write_text(
        "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
        "WR0_anger_1.wav\tanger\tLubię czytać.\tlubię czytać\t        WR0\tmale\t23\n"
    )
    esd, nemo = (CORPORA[name].read(tmp_path / name) for name in ("esd", "nemo"))
    chinese, english = sorted(esd.table.to_dict("records"), key=lambda row: row["id"])
    assert (
        english["id"] == "0011_001051" and english["text"] == 'The nine "chairs".' and english["language"] == "English"
    )
    assert chinese["text"] is None and chinese["language"] == "Mandarin"
    assert [(problem.reason, problem.where, problem.dropped) for problem in esd.problems] == [
        ("not UTF-8", "0001.txt", False)
    ]
    (row,) = nemo.utterances()
    assert (row.speaker, row.gender, row.text, row.label) == ("WR0", "male", "Lubię czytać.", "anger")


def test_published_counts_add_up():
    from ser_data.validate.published import PUBLISHED

    for name in ACTED:
        if name not in PUBLISHED:
            assert name == "aesdd"  # it grows: there is no final count
            continue
        cells = dict(PUBLISHED[name][0])
        whole = cells.pop("all utterances")
        cells.pop("speakers")
        cells = {cell: count for cell, count in cells.items() if not cell.startswith(("EmoBox fold", "actors"))}
        assert not cells or sum(cells.values()) == whole
