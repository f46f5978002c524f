"""`ser predict` on the command line: formats, exit codes, and twenty files that want to do harm."""

import csv
import io
import json
import os
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from ser_predict.recordings.cli import predict as command


def flat(text: str) -> str:
    """An error's text without the frame and the line breaks around it."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def predict(small: Any) -> Any:
    """``predict(*arguments)`` on the small run."""

    def call(*arguments: object) -> Result:
        places = ["--encoder", f"audio={small.audio_encoder},text={small.text_encoder}", "--offline"]
        return CliRunner().invoke(command, [str(small.run), *map(str, arguments), *places, "--device", "cpu"])

    return call


def test_csv_with_a_given_transcript(small: Any, predict: Any):
    done = predict(small.file(0), "--text", small.rows[0]["text"], "--row", "cross", "--format", "csv")
    assert done.exit_code == 0, done.output
    (line,) = csv.DictReader(io.StringIO(done.stdout))
    assert line["text"] == small.rows[0]["text"] and line["text_source"] == "given" and line["row"] == "cross-stats"
    assert sum(float(line[f"p_{name}"]) for name in ("happy", "neutral", "sad")) == pytest.approx(1, abs=1e-4)
    assert "6 heads averaged" in done.stderr and "1 of 1 recordings predicted" in done.stderr


def test_json_lines_with_a_table_of_transcripts(small: Any, predict: Any, tmp_path: Path):
    table = tmp_path / "texts.csv"
    lines = "".join(f"{row['path']},{row['text']}\n" for row in small.rows[:2])
    table.write_text(f"file,text\n{lines}", encoding="utf-8-sig")
    saved = tmp_path / "out" / "predictions.jsonl"
    done = predict(
        small.file(0), small.file(1), "--transcripts", table, "--row", "text", "--format", "jsonl", "--save", saved
    )
    assert done.exit_code == 0, done.output
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["text"] for one in told] == [row["text"] for row in small.rows[:2]]
    assert all(abs(sum(one["posteriors"].values()) - 1) < 1e-6 for one in told)
    assert [json.loads(line) for line in saved.read_text().splitlines()] == told


def test_table_and_timeline(small: Any, predict: Any, tmp_path: Path):
    long = tmp_path / "[red]talk.wav"  # markup in a file name is a name
    soundfile.write(long, np.tile(soundfile.read(small.file(0))[0], 6), 16_000)
    done = predict(
        long, small.file(1), "--row", "audio", "--window", 1, "--timeline", tmp_path / "plots", "--threshold", 0
    )
    assert done.exit_code == 0, done.output
    assert "[red]" in done.stdout and "confidence" in done.stdout
    assert (tmp_path / "plots" / "[red]talk.png").is_file()
    short = predict(small.file(1), "--row", "audio", "--timeline", tmp_path / "none")
    assert short.exit_code == 0 and "every recording is shorter than" in short.stderr


def test_formulas_are_defused(small: Any, predict: Any):
    done = predict(small.file(0), "--text", "=cmd|'/c calc'!A0", "--row", "text", "--format", "csv")
    (line,) = csv.DictReader(io.StringIO(done.stdout))
    assert done.exit_code == 0 and line["text"].startswith("'=")


def _sparse_wav(path: Path, seconds: int) -> None:
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 8_000, 0, "NONE", ""))
        out.writeframes(b"\x01\x00" * 8_000)
    size = seconds * 16_000
    with path.open("r+b") as file:  # the header says so many seconds; the file has a hole
        for place, value in ((4, 36 + size), (40, size)):
            file.seek(place)
            file.write(value.to_bytes(4, "little"))
        file.truncate(44 + size)


def _hostile(folder: Path, good: Path) -> dict[str, str]:
    """Name -> a word of the line that must be told. What is merely unusual (stereo, 8 kHz mp3, clipped) must be done."""
    draw = np.random.default_rng(0)
    noise = (0.1 * draw.standard_normal(16_000)).astype(np.float32)
    data = good.read_bytes()

    def put(name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)

    put("empty.wav", b"")
    put("text.wav", b"this is not sound\n" * 50)
    put("html.wav", b"<html><script>alert(1)</script></html>")
    put("riff_only.wav", b"RIFF\x10\x00\x00\x00WAVE")
    put("header_only.wav", data[:44])
    put("random.flac", draw.bytes(4_000))
    put("zip.ogg", b"PK\x03\x04" + draw.bytes(500))
    put("pickle.wav", b"\x80\x04\x95" + draw.bytes(200))
    put("cut.flac", b"fLaC" + draw.bytes(60))
    _sparse_wav(folder / "two_hours.wav", 7_200)
    soundfile.write(folder / "silent.wav", np.zeros(16_000, np.float32), 16_000)
    soundfile.write(folder / "nan.wav", np.where(np.arange(16_000) == 5, np.nan, noise), 16_000, subtype="FLOAT")
    soundfile.write(folder / "inf.wav", np.where(np.arange(16_000) == 5, np.inf, noise), 16_000, subtype="FLOAT")
    soundfile.write(folder / "one_sample.wav", noise[:1], 16_000)
    soundfile.write(folder / "ten_ms.wav", noise[:160], 16_000)
    soundfile.write(folder / "slow.wav", noise, 500)
    (folder / "folder.wav").mkdir()
    (folder / "dangling.wav").symlink_to(folder / "nowhere.wav")
    os.mkfifo(folder / "pipe.wav")
    words = {
        "empty.wav": "no audio", "text.wav": "decoded", "html.wav": "decoded", "riff_only.wav": "", "header_only.wav": "",
        "random.flac": "decoded", "zip.ogg": "decoded", "pickle.wav": "decoded", "cut.flac": "", "two_hours.wav": "too long",
        "silent.wav": "zero", "nan.wav": "not finite", "inf.wav": "not finite", "one_sample.wav": "too short",
        "ten_ms.wav": "too short", "slow.wav": "limits", "folder.wav": "regular", "dangling.wav": "does not exist",
        "pipe.wav": "regular", "missing.wav": "does not exist",
    }  # fmt: skip
    return words


def test_twenty_hostile_files(small: Any, predict: Any, tmp_path: Path):
    words = _hostile(tmp_path, Path(small.file(0)))
    assert len(words) == 20
    files = [tmp_path / name for name in words]
    done = predict(*files, small.file(0), "--row", "audio", "--format", "csv")
    assert done.exit_code == 3, done.output
    assert "Traceback" not in done.output and "1 of 21 recordings predicted, 20 skipped." in done.stderr
    told = {Path(line["file"]).name: line for line in csv.DictReader(io.StringIO(done.stdout))}
    for name, word in words.items():
        assert word in told[name]["error"] and told[name]["error"] and not told[name]["label"], (
            name,
            told[name]["error"],
        )
        assert f"{tmp_path / name}: " in done.stderr, name
    assert told[Path(small.file(0)).name]["label"]


def test_unusual_files_are_done(small: Any, predict: Any, tmp_path: Path):
    noise = (0.1 * np.random.default_rng(0).standard_normal(24_000)).astype(np.float32)
    soundfile.write(tmp_path / "telephone.mp3", noise[:12_000], 8_000)
    soundfile.write(tmp_path / "stereo.flac", np.stack([noise, noise[::-1]], axis=1), 44_100)
    soundfile.write(tmp_path / "clipped.ogg", np.sign(noise), 16_000)
    soundfile.write(tmp_path / "späte Aufnahme (2).wav", noise, 22_050, subtype="PCM_24")
    done = predict(*sorted(tmp_path.iterdir()), "--row", "audio", "--format", "jsonl")
    assert done.exit_code == 0, done.output
    assert all(json.loads(line)["error"] is None for line in done.stdout.splitlines())


def test_usage_is_told(small: Any, predict: Any, tmp_path: Path):
    two = predict(small.file(0), small.file(1), "--text", "hello")
    assert two.exit_code == 2 and "--transcripts" in flat(two.output)
    assert predict(small.file(0), "--save", tmp_path / "out.xlsx").exit_code == 2
    assert CliRunner().invoke(command, [str(small.run)]).exit_code == 2
    nothing = CliRunner().invoke(command, [str(tmp_path), small.file(0)])
    assert nothing.exit_code == 1 and "is not a run directory" in flat(nothing.output)
    bad = tmp_path / "bad.csv"
    bad.write_bytes(b"file,text\nx.wav,caf\xe9\n")
    for table in (bad, tmp_path / "none.csv"):
        done = predict(small.file(0), "--transcripts", table)
        assert done.exit_code == 1 and "UTF-8 CSV" in flat(done.output) and "Traceback" not in done.output
    wrong = predict(small.file(0), "--asr", tmp_path)
    assert wrong.exit_code == 1 and "cannot be used for speech recognition" in flat(wrong.output)
    encoder = predict(small.file(0), "--asr", small.audio_encoder)  # an encoder without a head that writes letters
    assert encoder.exit_code in (1, 3) and "Traceback" not in encoder.output


def test_a_row_that_reads_what_was_given_answers_and_says_why(small: Any, predict: Any):
    """Whatever scores best on development data: a transcript that is given is read, or it is said that it is not."""
    done = predict(small.file(0), "--text", small.rows[0]["text"], "--format", "csv")
    (line,) = csv.DictReader(io.StringIO(done.stdout))
    assert line["row"] != "audio-stats" and line["text_source"] == "given"
    assert "among the rows that read the text you gave" in done.stderr
    unread = predict(small.file(0), "--text", small.rows[0]["text"], "--row", "audio", "--format", "csv")
    assert "chosen with --row" in unread.stderr and "does not read text" in unread.stderr


def test_a_row_is_preferred_for_what_it_reads_over_its_score(small: Any):
    from ser_predict.models.runs import RunHeads

    class AudioIsBest(RunHeads):
        def uwa(self, slug: str) -> float:
            return 0.9 if slug.startswith("audio") else 0.1

    source = AudioIsBest(small.run)
    assert source.best(("audio", "text"))["slug"].startswith("audio")
    assert "text" in source.streams(source.best(("audio", "text"), ("text",))["slug"])


def test_a_folder_stands_for_the_recordings_below_it(small: Any, predict: Any, tmp_path: Path):
    (tmp_path / "b").mkdir()
    for name in ("a.wav", "b/c.wav", ".hidden.wav", "notes.txt"):
        (tmp_path / name).write_bytes(Path(small.file(0)).read_bytes())
    done = predict(tmp_path, "--row", "audio", "--format", "csv")
    assert done.exit_code == 0, done.output
    files = [line["file"] for line in csv.DictReader(io.StringIO(done.stdout))]
    assert files == [str(tmp_path / "a.wav"), str(tmp_path / "b" / "c.wav")]
    (tmp_path / "empty").mkdir()
    skipped = predict(tmp_path / "empty", small.file(0), "--row", "audio")
    assert skipped.exit_code == 3 and "1 of 2 recordings predicted, 1 skipped" in skipped.stderr
    assert "folder" in skipped.stderr.lower()
