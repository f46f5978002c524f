"""IEMOCAP's grammar on a tree typed by hand: every trap once, in lines that no generator made."""

import json
from collections import Counter
from pathlib import Path

import pytest

from ser_data.corpora import CORPORA
from ser_data.corpora.iemocap import overlaps
from ser_data.errors import BadRoot
from ser_data.manifest.table import Manifest
from ser_data.validate import validate

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[5.0000 - 7.0000]\tSes03M_impro05a_F000\tfru\t[2.5000, 3.0000, 2.5000]
C-E2:\tFrustration;\t()
C-E3:\tFrustration; Anger;\t(a little)
C-E4:\tAnger;\t()
C-F1:\tSadness;\t(curious)
A-E3:\tval 2; act 3; dom  2;\t()
A-E4:\tval 3; act 3; dom  3;\t()
A-F1:\tval 3; act 2; dom  1;\t()

[9.0000 - 9.5850]\tSes03M_impro05a_F001\txxx\t[3.0000, 3.0000, 0.5000]
C-E2:\tNeutral state;\t()
C-E3:\tHappiness;\t()
C-E4:\tOther;\t()

[0.5000 - 1.5000]\tSes03M_impro05a_M000\texc\t[5.5000, 3.5000, 3.0000]
C-E2:\tExcited;\t()
C-E3:\tExcited;\t()
C-E4:\tHappiness;\t()

[6.0000 - 9.3000]\tSes03M_impro05a_M001\tneu\t[3.0000, 2.0000, 3.0000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral;\t()
C-E4:\tNeutral;\t()
"""
SCRIPTED = """[START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\r
\r
[1.0000 - 31.5000]\tSes03F_script01_1b_M000\tsad\t[2.0000, 2.0000, 2.0000]\r
C-E1:\tSadness;\t()\r
C-E2:\tSadness;\t()\r
\r
[2.0000 - 2.9000]\tSes03F_script01_1b_M001\tang\t[2.0000, 4.0000, 4.0000]\r
C-E1:\tAnger;\t()\r
"""
TRANSCRIPTS = {
    "Ses03M_impro05a": (
        "Ses03M_impro05a_F000 [005.0000-007.0000]: Stand in  line, [BREATHING] they said.\n"
        "Ses03M_impro05a_F001 [009.0000-009.5850]: [LAUGHTER]\n"
        "M: sorry\n"
        "Ses03M_impro05a_M000 [000.5000-001.5000]: Guess what.\n"
        "Ses03M_impro05a_M001 [006.0000-009.3000]: Your form, please.\n"
        "Ses03M_impro05a_MXX0 [009.4000-009.6000]: Mhm.\n"
    ),
    "Ses03F_script01_1b": (
        "Ses03F_script01_1b_M000 [001.0000-031.5000]: A long farewell.\r\n"
        "Ses03F_script01_1b_M001 [002.0000-002.9000]: Enough.\r\n"
    ),
}
SECONDS = {
    "Ses03M_impro05a_F000": 2.0, "Ses03M_impro05a_F001": 0.585, "Ses03M_impro05a_M000": 1.0, "Ses03M_impro05a_M001": 3.3,
    "Ses03F_script01_1b_M000": 30.5, "Ses03F_script01_1b_M001": 0.9,
}  # fmt: skip


@pytest.fixture
def typed(tmp_path: Path, tone) -> Path:
    session = tmp_path / "IEMOCAP_full_release" / "Session3"
    (session / "dialog/EmoEvaluation/Categorical").mkdir(parents=True)
    (session / "dialog/transcriptions").mkdir()
    (session / "dialog/wav").mkdir()
    for dialogue, text in (("Ses03M_impro05a", EVALUATION), ("Ses03F_script01_1b", SCRIPTED)):
        (session / f"dialog/EmoEvaluation/{dialogue}.txt").write_bytes(text.encode())
        (session / f"dialog/transcriptions/{dialogue}.txt").write_bytes(TRANSCRIPTS[dialogue].encode())
        (session / f"dialog/EmoEvaluation/._{dialogue}.txt").write_bytes(b"\0\5\26\7")
    (session / "dialog/EmoEvaluation/Categorical/Ses03M_impro05a_e2_cat.txt").write_text(
        "Ses03M_impro05a_F000 :Anger; ()\n"
    )
    (session / "dialog/EmoEvaluation/.DS_Store").write_bytes(b"\0")
    tone(session / "dialog/wav/Ses03M_impro05a.wav", 1)
    for i, (name, seconds) in enumerate(SECONDS.items()):
        tone(session / "sentences/wav" / name[:-5] / f"{name}.wav", seconds, seed=i)
    return session.parent


@pytest.fixture
def manifest(typed: Path) -> Manifest:
    return CORPORA["iemocap"].read(typed)


def row(manifest: Manifest, name: str) -> dict:
    return manifest.table.set_index("id").loc[name].to_dict()


def test_the_speaker_is_who_speaks_not_who_wears(manifest: Manifest):
    found = row(manifest, "Ses03M_impro05a_F000")
    assert (found["speaker"], found["gender"], found["wearer"], found["session"]) == ("3F", "female", "M", "3")
    assert row(manifest, "Ses03F_script01_1b_M000")["speaker"] == "3M"


def test_a_turn_s_video_is_its_span_and_the_half_of_its_speaker(typed: Path):
    found = CORPORA["iemocap"].read(typed)
    assert found.table["video_path"].isna().all(), "a copy without videos says nothing of them"
    assert not [problem for problem in found.problems if problem.reason == "missing video"]
    folder = typed / "Session3" / "dialog" / "avi" / "DivX"
    folder.mkdir(parents=True)
    (folder / "Ses03M_impro05a.avi").write_bytes(b"RIFF")
    (folder / "._Ses03F_script01_1b.avi").write_bytes(b"\0\5\26\7")
    found = CORPORA["iemocap"].read(typed)
    own, other = row(found, "Ses03M_impro05a_M000"), row(found, "Ses03M_impro05a_F000")
    assert own["video_path"] == other["video_path"] == str(folder / "Ses03M_impro05a.avi")
    assert (own["video_start"], own["video_end"], own["video_crop"]) == (
        0.5,
        1.5,
        "left",
    )  # the wearer sits on the left
    assert (other["video_start"], other["video_end"], other["video_crop"]) == (5.0, 7.0, "right")
    assert row(found, "Ses03F_script01_1b_M000")["video_path"] is None
    missing = [problem for problem in found.problems if problem.reason == "missing video"]
    assert len(missing) == 1 and "Ses03F_script01_1b.avi" in str(missing[0]) and not missing[0].dropped
    utterance = next(one for one in found.utterances() if one.id == "Ses03M_impro05a_F000")
    assert utterance.video_span == (5.0, 7.0)


def test_scenario_take_and_kind(manifest: Manifest):
    a, b = row(manifest, "Ses03M_impro05a_M001"), row(manifest, "Ses03F_script01_1b_M001")
    assert (a["scenario"], a["take"], a["scripted"], a["dialogue"]) == ("impro05", "a", False, "Ses03M_impro05a")
    assert (b["scenario"], b["take"], b["scripted"]) == ("script01_1", "b", True)


def test_votes_ratings_and_self_reports_are_kept_apart(manifest: Manifest):
    found = row(manifest, "Ses03M_impro05a_F000")
    assert found["label"] == "fru"
    assert json.loads(found["votes"]) == {"fru": 2, "ang": 2}
    assert json.loads(found["self_votes"]) == {"sad": 1}
    assert json.loads(found["ratings"]) == [[2, 3, 2], [3, 3, 3]]
    assert (found["valence"], found["arousal"], found["dominance"]) == (2.5, 3.0, 2.5)
    assert json.loads(row(manifest, "Ses03M_impro05a_F001")["votes"]) == {"neu": 1, "hap": 1, "oth": 1}


def test_turns_are_ordered_by_time_not_by_file(manifest: Manifest):
    order = manifest.table[manifest.table["dialogue"] == "Ses03M_impro05a"].sort_values("turn")["id"].str[-4:].tolist()
    assert order == ["M000", "F000", "M001", "F001"]


def test_overlap_is_the_share_of_the_own_time(manifest: Manifest):
    assert row(manifest, "Ses03M_impro05a_F000")["overlap"] == pytest.approx(0.5)  # 6 to 7 of 5 to 7
    assert row(manifest, "Ses03M_impro05a_M001")["overlap"] == pytest.approx((1.0 + 0.3) / 3.3, abs=1e-6)
    assert row(manifest, "Ses03F_script01_1b_M001")["overlap"] == 0  # the same speaker's turn is none
    assert overlaps([0, 1, 2], [10, 3, 4], ["F", "M", "M"])[0] == pytest.approx(0.3)  # counted once where two speak


def test_times_are_the_dialogue_s_and_the_file_is_taken_whole(manifest: Manifest):
    found = row(manifest, "Ses03M_impro05a_F000")
    assert found["start"] != found["start"] and found["end"] != found["end"]
    assert (found["dialogue_start"], found["duration"]) == ("5.0000", 2.0)
    assert found["path"].endswith("Session3/sentences/wav/Ses03M_impro05a/Ses03M_impro05a_F000.wav")


def test_texts_and_everything_that_was_passed_over(manifest: Manifest):
    assert row(manifest, "Ses03M_impro05a_F000")["text_normalised"] == "Stand in line, they said."
    assert row(manifest, "Ses03F_script01_1b_M001")["text"] == "Enough."
    assert Counter(p.reason for p in manifest.problems) == {
        "empty text": 1, "noise line": 1, "extra transcript": 1, "rating out of range": 2,
    }  # fmt: skip
    assert not manifest.dropped
    assert any(p.where == "Session3/transcriptions/Ses03M_impro05a.txt, line 3" for p in manifest.problems)


def test_it_validates_but_for_being_partial(typed: Path):
    assert not validate("iemocap", typed, partial=True).errors
    errors = {finding.what for finding in validate("iemocap", typed).errors}
    assert "all turns: 6, published 10,039 (-10,033)" in errors and "session 3, fru: 1, published 382 (-381)" in errors


def test_the_wrong_folder_is_told(typed: Path, tmp_path: Path):
    with pytest.raises(BadRoot, match="it holds IEMOCAP_full_release.\nGive .*IEMOCAP_full_release as ROOT"):
        CORPORA["iemocap"].read(typed.parent)
    with pytest.raises(BadRoot, match="does not exist"):
        CORPORA["iemocap"].read(tmp_path / "none")
    (tmp_path / "empty" / "Session1").mkdir(parents=True)
    with pytest.raises(BadRoot, match="turn in Session"):
        CORPORA["iemocap"].read(tmp_path / "empty")
