"""Speech is found between pauses that are known by construction, in bounded memory; timelines say what was predicted."""

import csv
import itertools
import json
import tracemalloc
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from ser_base.errors import UnknownName
from ser_data.media.isolated import IsolatedDecoder
from ser_predict.recordings.cli import predict
from ser_predict.recordings.pieces import Prediction
from ser_predict.recordings.segments import TIMELINES, by_energy, detector, levels, segments

RATE = 16_000
Span = tuple[float, float]


def composed(
    clips: list[np.ndarray], seconds: float, noise: float, draw: np.random.Generator
) -> tuple[np.ndarray, list[Span]]:
    """So many seconds of clips at levels that differ by up to 12 dB, with pauses of 0.6 to 2.5 s, in noise; and where they are."""
    total = draw.normal(0, 10 ** (noise / 20), int(seconds * RATE))
    spans, at = [], 1.0
    while True:
        clip = clips[draw.integers(len(clips))] * 10 ** (draw.uniform(-6, 6) / 20)
        end = at + len(clip) / RATE
        if end + 1 > seconds:
            return total.astype(np.float32), spans
        total[round(at * RATE) : round(at * RATE) + len(clip)] += clip
        spans.append((at, end))
        at = end + draw.uniform(0.6, 2.5)


def near(wanted: list[Span], given: list[Span], within: float = 0.2) -> float:
    """Share of the wanted borders that have a given one of their kind within so many seconds."""
    hits = [
        min(abs(edge - other[side]) for other in given) <= within for span in wanted for side, edge in enumerate(span)
    ]
    return sum(hits) / len(hits)


def bursts(draw: np.random.Generator) -> list[np.ndarray]:
    """Noise that swells like syllables, with pauses of 0.2 s inside."""
    clips = []
    for _ in range(8):
        time = np.arange(int(draw.uniform(1, 4) * RATE)) / RATE
        swell = np.maximum(0.05, np.sin(2 * np.pi * draw.uniform(1.5, 4) * time))
        clips.append(0.1 * draw.standard_normal(len(time)) * swell)
    return clips


def ravdess(folder: Path) -> list[np.ndarray]:
    """Acted speech, trimmed to what is within 25 dB of its loudest 10 ms."""
    clips = []
    for path in sorted(folder.rglob("*.flac")) + sorted(folder.rglob("*.wav")):
        samples, rate = soundfile.read(path, dtype="float64")
        assert rate == RATE
        power = 10 * np.log10((samples[: len(samples) // 160 * 160].reshape(-1, 160) ** 2).mean(1) + 1e-12)
        loud = np.flatnonzero(power > power.max() - 25)
        clips.append(samples[loud[0] * 160 : (loud[-1] + 1) * 160])
        if len(clips) == 40:
            break
    return [clip / np.abs(clip).max() * 0.25 for clip in clips]


def check(clips: list[np.ndarray], noise: float, folder: Path) -> None:
    """Ten minutes: 95 % of the borders within 0.2 s, both ways, in the memory of a block."""
    samples, spans = composed(clips, 600, noise, np.random.default_rng(5))
    soundfile.write(folder / "talk.wav", samples, RATE)
    del samples
    with IsolatedDecoder() as decoder:
        tracemalloc.start()
        found = segments(levels(decoder, str(folder / "talk.wav"), RATE))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert near(spans, found) >= 0.95 and near(found, spans) >= 0.95
    assert peak < 40 << 20, "ten minutes have 38 MB as float32, a block has 4"


@pytest.mark.parametrize("noise", [-70, -50])
def test_ten_minutes_of_bursts(noise: float, tmp_path: Path):
    check(bursts(np.random.default_rng(1)), noise, tmp_path)
    (found,) = [segments(np.full(500, -20.0))]
    assert found == [(0.0, 5.0)], "without a pause it is one segment"


@pytest.mark.real
def test_ten_minutes_of_acted_speech(shared: Path, tmp_path: Path):
    check(ravdess(shared / "corpora/ravdess"), -65, tmp_path)


def test_silero_hears_no_speech_in_noise_whatever_the_blocks():
    pytest.importorskip("silero_vad", reason="needs the extra vad")
    find, noise = detector("silero"), bursts(np.random.default_rng(3))[0].astype(np.float32)
    assert find([noise], RATE) == find([noise[:9_000], noise[9_000:]], RATE) == []
    assert by_energy([noise], RATE) != []
    with pytest.raises(UnknownName, match="energy, silero"):
        detector("silence")


@pytest.mark.real
def test_silero_tells_speech_from_loud_noise_and_energy_does_not(shared: Path):
    pytest.importorskip("silero_vad", reason="needs the extra vad")
    draw = np.random.default_rng(5)
    talk, spans = composed(ravdess(shared / "corpora/ravdess"), 60, -60, draw)
    knocks, _ = composed(bursts(draw), 20, -60, draw)
    found = {name: detector(name)([talk, knocks.astype(np.float32)], RATE) for name in ("energy", "silero")}
    assert len([one for one in found["energy"] if one[0] > 60]) > 3
    assert not [one for one in found["silero"] if one[0] > 60] and near(spans, found["silero"], 0.4) >= 0.95


def line(start: float, end: float, label: str, text: str | None = None) -> Prediction:
    return Prediction(
        "talk é.wav", start, end, True, text, "recognised" if text else "none", None, label, label, 0.8, "audio"
    )


LINES = [line(0.5, 2, "happy", 'she said "no" <now>'), line(3, 5, "sad"), line(4, 6, "neutral"), line(7.25, 8, "sad")]


def test_timelines_say_what_was_predicted():
    borders = [(0.5, 2.0, "happy"), (3.0, 4.5, "sad"), (4.5, 6.0, "neutral"), (7.25, 8.0, "sad")]  # overlaps are halved
    labels = [row.split("\t") for row in TIMELINES[".txt"](LINES).splitlines()]
    assert [(float(a), float(b), label) for a, b, label in labels] == borders

    root = ElementTree.fromstring(TIMELINES[".eaf"](LINES).partition("\n")[2])
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "")) / 1000 for slot in root.iter("TIME_SLOT")}
    emotion, words = root.iter("TIER")
    marks = [
        (slots[a.get("TIME_SLOT_REF1")], slots[a.get("TIME_SLOT_REF2")], a[0].text)
        for a in emotion.iter()
        if len(a) and a.tag[:3] == "ALI"
    ]
    assert marks == borders and [value.text for value in words.iter("ANNOTATION_VALUE")] == ['she said "no" <now>']

    grid = TIMELINES[".TextGrid"](LINES)
    emotion_tier = grid.partition("item [2]")[0].partition("item [1]")[2]
    values = [row.split(" = ")[1].strip() for row in emotion_tier.splitlines() if row.startswith("            ")]
    intervals = [(float(a), float(b), text.strip('"')) for a, b, text in zip(*[iter(values)] * 3, strict=True)]
    assert [one for one in intervals if one[2]] == borders
    assert intervals[0][0] == 0 and all(a[1] == b[0] for a, b in itertools.pairwise(intervals))  # no gap
    assert 'text = "she said ""no"" <now>"' in grid and "intervals: size = 7" in grid


def test_a_talk_is_cut_at_its_pauses(small: Any, tmp_path: Path):
    samples, spans = composed(bursts(np.random.default_rng(1)), 12, -70, np.random.default_rng(2))
    talk = tmp_path / "talk.flac"
    soundfile.write(talk, samples, RATE)
    encoders = f"audio={small.audio_encoder},text={small.text_encoder}"
    asked = [
        str(small.run),
        str(talk),
        "--row",
        "audio",
        "--encoder",
        encoders,
        "--offline",
        "--segment",
        "--window",
        "8",
    ]

    def call(*more: object) -> Any:
        return CliRunner(env={"FORCE_COLOR": "1"}).invoke(predict, [*asked, *map(str, more)])  # as on a terminal

    done = call("--format", "csv", "--save", tmp_path / "talk.json")
    assert done.exit_code == 0, done.output
    assert "segments" in done.stderr and "100%" in done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert near(spans, [(float(row["start"]), float(row["end"])) for row in rows]) == 1 and len(rows) == len(spans)
    saved = json.loads((tmp_path / "talk.json").read_text())
    assert [one["label"] for one in saved] == [row["label"] for row in rows] and len(saved[0]["posteriors"]) == 3
    assert call("--save", tmp_path / "talk.html").exit_code == 0
    page = (tmp_path / "talk.html").read_text()
    assert page.count("<svg") == 1 and "talk.flac" in page and "Never for" in page and "http-equiv" in page
    assert page.count('<td class="left">') == 2 * len(rows) and all(
        f'<td class="left">{r["label"]}' in page for r in rows
    )
    assert "src=" not in page and "<script" not in page, "it needs no other file"
    wrong = call(small.file(0), "--save", tmp_path / "two.eaf")
    assert wrong.exit_code == 2 and "timeline" in wrong.output
    unknown = call("--save", tmp_path / "talk.xlsx")
    assert unknown.exit_code == 2 and ".TextGrid" in unknown.output
