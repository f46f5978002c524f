"""The generated corpus: published margins exactly, every trap there, the same bytes for the same seed."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ser_base.errors import UnknownName
from ser_data.corpora import CORPORA
from ser_data.corpora.iemocap_files import TURN
from ser_data.errors import BadRoot
from ser_data.synthetic.allocation import BY_SCENARIO, BY_SESSION, CLASSES, allocate, durations, thin_out, timeline
from ser_data.synthetic.iemocap_shaped import generate_iemocap_shaped
from ser_data.synthetic.planted import Writer
from ser_data.validate import validate


@pytest.mark.parametrize("seed", [0, 1])
def test_the_full_plan_meets_all_margins(seed: int):
    turns = allocate(seed)
    assert len(turns) == 10_039
    by_session = Counter((turn.session, turn.label) for turn in turns)
    assert all(by_session[s, label] == n for label, counts in BY_SESSION.items() for s, n in enumerate(counts, 1))
    by_scenario = Counter((turn.scenario, turn.label) for turn in turns)
    for scenario, (*counts, _) in BY_SCENARIO.items():
        assert [by_scenario[scenario, label] for label in CLASSES] == counts
    speakers = Counter(f"{turn.session}{turn.speaker}" for turn in turns)
    assert (speakers["1F"], speakers["5M"]) == (873, 1137)
    assert not any(turn.session == 1 and turn.scenario == "impro08" for turn in turns)
    assert len({turn.dialogue for turn in turns}) == 151
    assert sum(turn.dialogue[5] != turn.speaker for turn in turns) == 4951


def test_thinning_keeps_every_dialogue_speaker_and_label():
    turns = thin_out(allocate(0), 302, 0)
    assert {(turn.dialogue, turn.speaker) for turn in turns} == {(t.dialogue, t.speaker) for t in allocate(0)}
    assert {turn.label for turn in turns} == set(BY_SESSION)
    assert len(thin_out(allocate(0), 1000, 0)) == 1000


def test_lengths_are_iemocap_s():
    seconds = durations(10_039, np.random.default_rng(0))
    assert seconds.sum() / 3600 == pytest.approx(12.44, abs=0.005)
    assert seconds.mean() == pytest.approx(4.46, abs=0.01) and np.median(seconds) == pytest.approx(3.52, abs=0.02)
    assert seconds.min() == 0.585 and seconds.max() == 34.14 and (seconds > 30).sum() == 2


def test_a_speaker_never_overlaps_with_themself():
    rng = np.random.default_rng(0)
    placed = timeline(durations(40, rng).tolist(), ["F", "M", "M", "F"] * 10, rng)
    for who in ("F", "M"):
        own = sorted((start, end) for i, start, end in placed if ["F", "M", "M", "F"][i % 4] == who)
        assert all(one[1] <= two[0] for one, two in pairwise(own))


def test_every_trap_is_there(pristine: Path):
    names = [path.relative_to(pristine).as_posix() for path in pristine.rglob("*")]
    assert any(name.endswith("/.DS_Store") for name in names)
    assert any(re.search(r"/\._Ses0\d.*\.txt$", name) for name in names)
    assert any(re.search(r"/\._Ses0\d.*\.wav$", name) for name in names)
    assert {"Categorical", "Attribute", "Self-evaluation"} <= {name.rsplit("/", 1)[-1] for name in names}
    assert any(re.search(r"dialog/wav/Ses.*\.wav$", name) for name in names)
    stems = {Path(name).stem for name in names if "/EmoEvaluation/Ses" in name}
    assert {"Ses03M_impro05a", "Ses03M_impro05b", "Ses03M_impro08a", "Ses03M_impro08b", "Ses05M_script01_1b"} <= stems
    texts = [path.read_bytes() for path in pristine.glob("Session*/dialog/transcriptions/Ses*.txt")]
    every = b"\n".join(texts)
    assert b"M: sorry" in every and re.search(rb"_[FM]XX\d ", every) and b"\r\n" in every and b"  " in every
    evaluations = b"\n".join(path.read_bytes() for path in pristine.glob("Session*/dialog/EmoEvaluation/Ses*.txt"))
    assert b"dom  " in evaluations and b", 0.5000]" in evaluations and b"\t[5.5000" in evaluations
    manifest = CORPORA["iemocap"].read(pristine)
    assert {p.reason for p in manifest.problems} == {
        "noise line",
        "extra transcript",
        "empty text",
        "rating out of range",
    }
    table = manifest.table
    assert (table["overlap"] > 0).any() and table["votes"].notna().all()
    assert any(wearer != speaker[-1] for wearer, speaker in zip(table["wearer"], table["speaker"], strict=True))
    assert all(TURN.fullmatch(name) for name in table["id"])
    first = table.groupby("dialogue").apply(lambda own: own.sort_values("id")["turn"].is_monotonic_increasing)
    assert not first.all()  # files are sorted by id, not by time


def test_nobody_can_take_it_for_people(pristine: Path):
    info = CORPORA["iemocap"].read(pristine).info
    assert info.synthetic and "synthetic" in info.title and info.name == "iemocap"


def test_it_validates_as_a_part(pristine: Path):
    report = validate("iemocap", pristine, partial=True)
    assert not report.errors and not report.cells


def test_the_same_seed_writes_the_same_bytes(pristine: Path, tmp_path: Path):
    for seed, same in ((1, True), (2, False)):
        root = tmp_path / str(seed)
        generate_iemocap_shaped(root, turns=302, shorten=0.05, seed=seed)
        differ = [
            path for path in pristine.rglob("*.txt")
            if not (root / path.relative_to(pristine)).is_file()
            or path.read_bytes() != (root / path.relative_to(pristine)).read_bytes()
        ]  # fmt: skip
        assert bool(differ) != same
    wavs = list(pristine.rglob("Ses*.wav"))[:40]
    assert all(path.read_bytes() == (tmp_path / "1" / path.relative_to(pristine)).read_bytes() for path in wavs)


def test_videos_show_the_label_in_the_half_of_the_speaker(tmp_path: Path):
    pytest.importorskip("av", reason="video needs PyAV: pip install 'ser-fusion[video]'")
    from ser_data.corpora.iemocap_files import CODES
    from ser_data.media.video import decode_video
    from ser_data.synthetic.clips import draw
    from ser_data.synthetic.iemocap_shaped import HALF

    root = tmp_path / "IEMOCAP_full_release"
    generate_iemocap_shaped(root, turns=302, shorten=0.1, seed=1, video=True)
    assert not validate("iemocap", root, partial=True).errors
    heights = [draw(HALF, number, len(CODES), 0.0).std(axis=(1, 2)).argmax() for number in range(len(CODES))]
    right, tried = 0, 0
    for turn in CORPORA["iemocap"].read(root).utterances():
        if turn.session != "1" or (turn.duration or 0) < 0.3:
            continue
        assert turn.video_path is not None and turn.video_crop in ("left", "right")
        frames = decode_video(turn.video_path, 5.0, *turn.video_span, turn.video_crop)
        bar = frames[len(frames) // 2].astype(float).std(axis=(1, 2)).argmax()
        right += int(np.abs(np.array(heights) - bar).argmin() == CODES.index(turn.label or ""))
        tried += 1
    assert tried > 30 and right > 0.9 * tried, (right, tried)


def test_planted_words_tell_what_they_should():
    for plant, tells_scene, tells_class in (("emotion", True, True), ("scenario", True, False), ("none", False, False)):
        writer = Writer(plant, 0)
        angry = set(writer.sentence(4000, "impro01", "ang").lower().split())
        sad = set(writer.sentence(4000, "impro01", "sad").lower().split())
        other = set(writer.sentence(4000, "impro02", "ang").lower().split())
        assert bool((angry - other) & set(writer.topic("impro01"))) == tells_scene
        assert ("furious" in angry and "furious" not in sad) == tells_class


def test_refusals(tmp_path: Path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(BadRoot, match="is not an empty folder"):
        generate_iemocap_shaped(tmp_path)
    with pytest.raises(UnknownName, match="Known are emotion, scenario, none"):
        generate_iemocap_shaped(tmp_path / "new", plant="secret")


@pytest.mark.slow
def test_the_full_size_has_exactly_the_published_counts(tmp_path: Path):
    generate_iemocap_shaped(tmp_path / "full", full=True, shorten=0.02)
    report = validate("iemocap", tmp_path / "full")
    assert len(report.cells) == 110 and all(got == published for got, published in report.cells.values())
    assert not report.errors
