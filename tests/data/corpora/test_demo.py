"""The demo corpus: the same every time, in IEMOCAP's shape and grammar, made without harm to what is already there."""

import json
import re
import shutil
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_data.corpora import CORPORA
from ser_data.errors import BadRoot
from ser_data.manifest.table import Manifest
from ser_data.media.audio import AudioError, load_audio, probe_audio
from ser_data.synthetic.espeak import Line, SpeechError, find_library, synthesise
from ser_data.synthetic.screenplay import COUNTS, SCALE, SPEAKERS, screenplay
from ser_data.synthetic.sentences import ANYBODY, CLASSES, OWN, SHARED, SLOTS

ID = re.compile(r"Ses0([1-5])([FM])_(impro0[1-8][ab]?|script0[1-3]_[1-3]b?)_([FM])(\d{3})")  # iemocap.md 2
SHARE = 0.04

speaks = pytest.mark.skipif(
    find_library() is None and shutil.which("espeak-ng") is None,
    reason="no espeak-ng: pip install espeakng-loader",
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return CORPORA["demo"].read(tmp_path_factory.mktemp("demo"), share=SHARE)


def root_of(manifest: Manifest) -> Path:
    return Path(manifest.table["path"][0]).parents[4]


class TestScreenplay:
    def test_the_same_on_every_machine(self) -> None:
        """Changes with `demo.VERSION` only: a first and a last turn stand for all."""
        turns = screenplay()
        assert turns == screenplay()
        assert (len(turns), turns[0].id, turns[0].line.text) == (
            709,
            "Ses01F_impro01_M000",
            "Is that the bill? It is not fair to your mother and it is not fair to me.",
        )
        assert (turns[-1].id, turns[-1].line) == (
            "Ses05M_script03_2_F002",
            Line(
                text="You turn left in the office and then go straight.",
                voice="en-us+f5",
                rate=169,
                volume=94,
                pitch=48,
                range=52,
            ),
        )

    def test_shape_of_iemocap(self) -> None:
        turns = screenplay()
        assert len({turn.id for turn in turns}) == len(turns)
        assert {turn.speaker for turn in turns} == set(SPEAKERS)
        counts = Counter((turn.session, turn.label) for turn in turns)
        for session, classes in COUNTS.items():
            for label, count in classes.items():
                assert abs(counts[session, label] - SCALE * count) <= 1
        scripted = np.mean([turn.scripted for turn in turns])
        assert 0.3 < scripted < 0.7
        for turn in turns:
            session, wearer, _, speaker, _ = ID.fullmatch(turn.id).groups()  # type: ignore[union-attr]
            assert turn.speaker == session + speaker and turn.wearer == wearer and turn.dialogue == turn.id[:-5]
            assert Counter(turn.votes).most_common(1)[0][0] == turn.label
        assert any(turn.wearer != turn.speaker[1] for turn in turns), "wearer and speaker must differ somewhere"
        assert {"Ses03M_impro05a", "Ses03M_impro05b", "Ses05M_script01_1b"} <= {turn.dialogue for turn in turns}

    def test_scenario_tells_part_of_the_label(self) -> None:
        table = pd.DataFrame([(turn.scenario, turn.label) for turn in screenplay()], columns=["scenario", "label"])
        best = table.groupby("scenario")["label"].agg(lambda labels: labels.value_counts().iloc[0]).sum() / len(table)
        assert table["label"].value_counts(normalize=True).iloc[0] + 0.2 < best < 0.7

    def test_scripts_come_back_in_other_sessions_and_improvisations_seldom(self) -> None:
        turns = screenplay()
        sessions: dict[str, set[str]] = {}
        for turn in turns:
            sessions.setdefault(turn.line.text, set()).add(turn.session)
        again = {
            kind: np.mean([len(sessions[t.line.text]) > 1 for t in turns if t.scripted == kind])
            for kind in (True, False)
        }
        assert again[True] > 0.3 > again[False]

    def test_states_last_over_turns(self) -> None:
        turns = screenplay()
        pairs = [(a.label, b.label) for a, b in pairwise(turns) if a.dialogue == b.dialogue]
        assert np.mean([a == b for a, b in pairs]) > 0.5

    def test_part_of_the_corpus_has_every_class_in_every_session(self) -> None:
        turns = screenplay(0.01)
        assert Counter((turn.session, turn.label) for turn in turns).keys() == {(s, c) for s in COUNTS for c in CLASSES}
        with pytest.raises(ValueError, match="share"):
            screenplay(0.0)

    def test_every_slot_is_known(self) -> None:
        for lines in (*OWN.values(), *SHARED.values(), ANYBODY):
            assert set(re.findall(r"{(\w*)}", lines)) <= set(SLOTS)
        assert not any("{" in turn.line.text for turn in screenplay())
        assert set(OWN) == set(CLASSES)


@speaks
@pytest.mark.demo
class TestCorpus:
    def test_manifest(self, demo: Manifest) -> None:
        assert demo.info.synthetic and not demo.problems
        assert set(demo.table["label"]) == set(CLASSES) and set(demo.table["session"]) == set("12345")
        assert demo.table["path"].map(lambda path: Path(path).is_file()).all()
        assert demo.table["duration"].between(0.4, 6.0).all()
        assert demo.table["text"].str.len().min() > 3

    def test_audio(self, demo: Manifest) -> None:
        for path, duration in zip(demo.table["path"][:10], demo.table["duration"], strict=False):
            info, samples = probe_audio(path), load_audio(path)
            assert (info.rate, info.channels, info.duration) == (16_000, 1, duration)
            assert 0.03 < np.abs(samples).max() <= 1.0

    def test_again_writes_nothing_and_mends_what_is_gone(self, demo: Manifest) -> None:
        root = root_of(demo)
        before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*.wav")}
        assert len(before) == len(demo)
        CORPORA["demo"].read(root, share=SHARE)
        assert {path: path.stat().st_mtime_ns for path in root.rglob("*.wav")} == {p: m for p, (m, _) in before.items()}
        gone = Path(demo.table["path"][3])
        gone.unlink()
        (root / "manifest.parquet").unlink()
        again = CORPORA["demo"].read(root, share=SHARE)
        assert gone.read_bytes() == before[gone][1], "the same samples, alone as among the others"
        pd.testing.assert_frame_equal(again.table, demo.table)
        assert not list(root.rglob(".*")), "no temporary file stays"

    def test_folder_is_in_iemocap_grammar(self, demo: Manifest) -> None:
        read = CORPORA["iemocap"].read(root_of(demo))
        ours, theirs = (m.table.set_index("id").sort_index() for m in (demo, read))
        assert not read.dropped
        columns = ["path", "speaker", "session", "dialogue", "turn", "scenario", "scripted", "gender", "label", "text"]
        pd.testing.assert_frame_equal(ours[columns], theirs[columns])
        pd.testing.assert_frame_equal(
            ours[["valence", "arousal", "dominance", "duration"]],
            theirs[["valence", "arousal", "dominance", "duration"]],
            atol=1e-4,
        )
        assert [json.loads(v) for v in ours["votes"]] == [json.loads(v) for v in theirs["votes"]]

    def test_another_folder_is_left_alone(self, demo: Manifest, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("mine")
        with pytest.raises(BadRoot, match=r"thesis\.txt"):
            CORPORA["demo"].read(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
        with pytest.raises(BadRoot, match="share 1"):
            CORPORA["demo"].read(root_of(demo))
        with pytest.raises(BadRoot, match="is a file, not a folder"):
            CORPORA["demo"].read(tmp_path / "thesis.txt")


@speaks
@pytest.mark.demo
class TestSynthesis:
    def test_each_line_is_independent_of_the_one_before(self) -> None:
        lines = [
            Line("Is that the letter?", voice=voice, rate=rate)
            for voice in ("en-us+f2", "en-us+m8")
            for rate in (120, 240)
        ]
        forwards, backwards = list(synthesise(lines)), list(synthesise(lines[::-1]))[::-1]
        for (a, rate), (b, _) in zip(forwards, backwards, strict=True):
            np.testing.assert_array_equal(a, b)
            assert rate == 22_050 and a.dtype == np.float32

    def test_manner_is_heard(self) -> None:
        slow, fast, quiet, loud = (
            s for s, _ in synthesise([Line("I know what you mean.", rate=r, volume=v) for r, v in ((120, 100), (240, 100), (175, 50), (175, 150))])
        )  # fmt: skip
        assert len(slow) > 1.5 * len(fast)
        assert np.std(loud) > 1.5 * np.std(quiet)

    @pytest.mark.parametrize("voice", ["qqqq", "en-us+nobody"])
    def test_unknown_voice(self, voice: str) -> None:
        with pytest.raises(SpeechError, match=re.escape(voice)):
            list(synthesise([Line("Hello", voice=voice)]))

    def test_espeak_is_never_in_our_process(self) -> None:
        list(synthesise([Line("Hello")]))
        assert "espeak" not in Path("/proc/self/maps").read_text()


class TestWithoutThePackage:
    def test_nothing_at_all(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # as Python sees a package that is not installed
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SpeechError, match=r"pip install espeakng-loader==0\.2\.4"):
            synthesise([Line("Hello")])

    def test_the_command_serves(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A stand-in that notes its arguments and answers with a wav, as `espeak-ng --stdout` does."""
        import soundfile as sf

        tone = np.sin(np.arange(2_205) / 10).astype(np.float32) / 2
        sf.write(tmp_path / "answer.wav", tone, 22_050)
        command = tmp_path / "espeak-ng"
        command.write_text(
            f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat > {tmp_path}/text\ncat {tmp_path}/answer.wav\n'
        )
        command.chmod(0o755)
        monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # as Python sees a package that is not installed
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        ((samples, rate),) = synthesise([Line("-v is no option here", "en-us+f3", 150, 90, 40, 30)])
        np.testing.assert_allclose(samples, tone, atol=2**-15)
        assert rate == 22_050
        assert (tmp_path / "arguments").read_text() == "--stdin --stdout -b 1 -v en-us+f3 -s 150 -a 90 -p 40 -P 30\n"
        assert (tmp_path / "text").read_text() == "-v is no option here"

    @pytest.mark.parametrize("body", ["exit 3", "echo not audio"])
    def test_a_command_that_fails(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> None:
        (tmp_path / "espeak-ng").write_text(f"#!/bin/sh\ncat > /dev/null\n{body}\n")
        (tmp_path / "espeak-ng").chmod(0o755)
        monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # as Python sees a package that is not installed
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        with pytest.raises(SpeechError):
            list(synthesise([Line("Hello")]))


def test_line_is_checked() -> None:
    for wrong in ({"rate": 10}, {"volume": 201}, {"pitch": -1}, {"range": 100}, {"text": ""}, {"text": "a" * 3_000}):
        with pytest.raises(ValueError):
            Line(**({"text": "Hello"} | wrong))  # type: ignore[arg-type]
    assert not issubclass(SpeechError, AudioError)
