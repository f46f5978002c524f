"""Acted corpora that are read from their file names alone: each grammar on names as published, and on names that are not."""

from pathlib import Path

import pytest

from ser_data.corpora import CORPORA
from ser_data.corpora.acted import ACTED
from ser_data.errors import BadRoot

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
