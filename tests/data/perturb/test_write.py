"""Perturbed copies: what was asked for is in the samples, ids and labels stay, and no copy crosses the parts of a fold."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from click.testing import CliRunner, Result

from ser_data.cli import main
from ser_data.corpora import CORPORA
from ser_data.perturb.effects import CODECS, Effects, add_noise, perturb, reverberate, room
from ser_data.perturb.write import file_name
from ser_data.protocols import Folds

RATE = 16_000


def said_by(done: Result) -> str:
    """Its output without frames and line breaks."""
    return " ".join(done.output.replace("│", " ").split())


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)


def speech(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """A voice-like tone with harmonics, loud in the middle."""
    time = np.arange(int(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * (120 + 5 * seed) * k * time) / k for k in range(1, 12))
    return (0.2 * tone * np.hanning(len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 utterances of 6 speakers in 3 sessions, one of them a span, one broken, one with a strange id."""
    folder = tmp_path_factory.mktemp("clean")
    rows = []
    for number in range(12):
        soundfile.write(folder / f"{number}.wav", speech(0.4, number), RATE)
        name = f"../u {number}" if number == 5 else f"u{number:02d}"
        row = {"id": name, "path": f"{number}.wav", "label": "ab"[number % 2], "text": f"Words, number {number}"}
        row |= {
            "speaker": f"s{number % 6}",
            "session": f"{number % 6 // 2}",
            "dialogue": f"d{number % 6}",
            "turn": number // 6,
        }
        row |= {"start": "0.1" if number == 3 else "", "end": "0.3" if number == 3 else "", "fold": f"{number % 3}"}
        rows.append({**row, "mood": "own column"})
    (folder / "7.wav").write_bytes(b"RIFF not a wav")
    with (folder / "corpus.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "corpus.csv"


@pytest.mark.parametrize("kind", ["white", "pink"])
@pytest.mark.parametrize("snr", [0.0, 10.0, 20.0])
def test_the_noise_is_as_loud_as_asked(kind: str, snr: float) -> None:
    clean = speech()
    noise = add_noise(clean, snr, kind, np.random.default_rng(0)) - clean
    assert 10 * np.log10(np.square(clean).mean() / np.square(noise).mean()) == pytest.approx(snr, abs=0.05)
    spectrum = np.square(np.abs(np.fft.rfft(noise)))
    octaves = [spectrum[low : 2 * low].mean() for low in (250, 500, 1000, 2000, 4000)]
    slope = np.polyfit(np.arange(5), 10 * np.log10(octaves), 1)[0]
    assert slope == pytest.approx(-3.0 if kind == "pink" else 0.0, abs=0.5)


def test_a_room_decays_by_60_db_and_keeps_loudness_and_length() -> None:
    response = room(RATE, 0.6, np.random.default_rng(1))
    energy = np.cumsum(np.square(response[1:])[::-1])[::-1]  # Schroeder's backward integral
    level = 10 * np.log10(energy / energy[0])
    at = [int(np.argmax(level < -5)), int(np.argmax(level < -25))]
    assert 3 * (at[1] - at[0]) / RATE == pytest.approx(0.6, rel=0.1)  # T20
    clean = speech()
    wet = reverberate(clean, RATE, 0.6, np.random.default_rng(1))
    assert wet.shape == clean.shape and np.square(wet).mean() == pytest.approx(np.square(clean).mean(), rel=1e-3)
    assert np.abs(wet - clean).max() > 0.05


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_codecs_change_the_samples_and_not_what_is_said(codec: str) -> None:
    clean = speech(1.0)
    out = perturb(clean, RATE, Effects(codec=codec), "u")
    assert out.shape == clean.shape and out.dtype == np.float32 and not np.array_equal(out, clean)
    spectra = [np.abs(np.fft.rfft(x))[: len(x) // 6] for x in (clean, out)]  # to 2.7 kHz; a codec may delay
    assert np.corrcoef(*spectra)[0, 1] > 0.9


def test_the_same_seed_and_id_give_the_same_samples_and_others_do_not() -> None:
    clean = speech()
    both = Effects(snr=5, reverb=0.3, codec="ogg", seed=1)
    assert np.array_equal(perturb(clean, RATE, both, "a"), perturb(clean, RATE, both, "a"))
    assert not np.array_equal(perturb(clean, RATE, both, "a"), perturb(clean, RATE, both, "b"))
    other = Effects(snr=5, reverb=0.3, codec="ogg", seed=2)
    assert not np.array_equal(perturb(clean, RATE, both, "a"), perturb(clean, RATE, other, "a"))
    assert both.name == "reverb0.3-snr5-ogg" and Effects(snr=-2.5, noise="pink").name == "snr-2.5pink"
    assert np.abs(perturb(clean * 4, RATE, Effects(snr=-10), "a")).max() <= 1.0


def test_a_copy_is_a_corpus_with_the_same_ids_labels_and_groups(corpus: Path, tmp_path: Path) -> None:
    done = run("perturb", "csv", corpus, tmp_path / "out", "--snr", "10", "--seed", "3")
    assert done.exit_code == 3 and "11 utterances with snr10" in done.stdout and "1 utterances left out" in done.stderr
    assert (tmp_path / "out/skipped.csv").read_text().splitlines()[1] == "u07,unreadable"
    clean, copy = CORPORA["csv"].read(corpus), CORPORA["csv"].read(tmp_path / "out/manifest.csv")
    assert not copy.dropped
    left, right = (m.table.set_index("id") for m in (clean, copy))
    same = ["label", "text", "text_hash", "speaker", "session", "dialogue", "turn", "fold", "mood"]
    pd.testing.assert_frame_equal(left.drop("u07")[same], right[same])
    for name, path in right["path"].items():
        assert Path(path).parent == tmp_path / "out/audio"  # also for an id that would climb out
        samples, rate = soundfile.read(path, dtype="float32")
        original, _ = soundfile.read(left["path"][name], dtype="float32")
        original = original[int(0.1 * RATE) : int(0.3 * RATE)] if name == "u03" else original
        assert rate == RATE and len(samples) == len(original)
        noise = samples - original
        assert 10 * np.log10(np.square(original).mean() / np.square(noise).mean()) == pytest.approx(10, abs=0.2)
    again = run("perturb", "csv", corpus, tmp_path / "again", "--snr", "10", "--seed", "3")
    assert again.exit_code == 3
    for path in (tmp_path / "out/audio").iterdir():
        assert path.read_bytes() == (tmp_path / "again/audio" / path.name).read_bytes()


def test_an_interrupted_copy_goes_on_and_another_one_is_refused(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("perturb", "csv", corpus, out, "--snr", "10").exit_code == 3
    kept, lost = out / "audio/u00.wav", out / "audio/u01.wav"
    before, written = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    assert run("perturb", "csv", corpus, out, "--snr", "10").exit_code == 3
    assert lost.read_bytes() == before and kept.stat().st_mtime_ns == written
    other = run("perturb", "csv", corpus, out, "--snr", "20")
    assert other.exit_code == 1 and "holds another copy" in said_by(other)
    strange = run("perturb", "csv", corpus, corpus.parent, "--snr", "20")
    assert strange.exit_code == 1 and "is not empty" in said_by(strange)


@pytest.mark.parametrize("protocol", ["session", "speaker", "manifest"])
def test_no_copy_crosses_the_parts_of_a_fold(corpus: Path, tmp_path: Path, protocol: str) -> None:
    out = tmp_path / "out"
    done = run("perturb", "csv", corpus, out, "--codec", "ulaw", "--with-clean", "--protocol", protocol)
    assert done.exit_code == 3 and "Folds (augment)" in done.stdout, done.output
    table = CORPORA["csv"].read(out / "manifest.csv").table.set_index("id", drop=False)
    assert len(table) == 12 + 11  # the broken file is in no copy
    source: dict[str, Any] = table["source"].to_dict()
    assert (table["perturbation"] == "none").sum() == 12 and table["perturbation"].isin(["none", "ulaw"]).all()
    for key in ("session", "speaker", "dialogue", "fold", "label", "text"):
        assert (table[key].to_numpy() == table[key][[source[name] for name in table["id"]]].to_numpy()).all()
    for purpose in ("augment", "robustness"):
        folds = Folds.from_csv(out / f"folds-{purpose}.csv")
        tested: set[str] = set()
        for fold in folds.folds:
            parts = {
                part: {source.get(name, name) for name in getattr(fold, part)} for part in ("train", "dev", "test")
            }
            assert (
                not parts["train"] & parts["test"]
                and not parts["dev"] & parts["test"]
                and not parts["train"] & parts["dev"]
            )
            marks = {part: {name.partition("~")[2] for name in getattr(fold, part)} for part in parts}
            expected = ({"", "ulaw"}, {""}, {""}) if purpose == "augment" else ({""}, {""}, {"ulaw"})
            assert (marks["train"], marks["dev"], marks["test"]) == expected
            tested |= parts["test"]
        assert tested == set(source.values()) - ({"u07"} if purpose == "robustness" else set())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "No perturbation given"),
        (["--snr", "10", "--protocol", "session"], 2, "Add --with-clean"),
        (["--codec", "aac"], 2, "aac"),
        (["--reverb", "0"], 2, "0.05"),
        (["--snr", "10", "--with-clean", "--protocol", "scenario-5"], 2, "scenario-5"),
        (["--snr", "10", "--with-clean", "--protocol", "session", "--dev", "partner"], 1, "--dev partner"),
    ],
)
def test_what_cannot_be_done_is_said(corpus: Path, tmp_path: Path, words: list[str], code: int, said: str) -> None:
    done = run("perturb", "csv", corpus, tmp_path / "out", *words)
    assert done.exit_code == code and said in said_by(done)
    assert not (tmp_path / "out").exists()


def test_a_corpus_of_text_has_nothing_to_perturb(tmp_path: Path) -> None:
    (tmp_path / "text.csv").write_text("id,text,label\na,words,x\n")
    done = run("perturb", "csv", tmp_path / "text.csv", tmp_path / "out", "--snr", "10")
    assert done.exit_code == 1 and "(no audio)" in said_by(done)
    assert json.loads((tmp_path / "out/perturb.json").read_text())["snr"] == 10.0
    assert file_name("a") == "a.wav" and "/" not in file_name("../a") and file_name("x:y") != file_name("x;y")
