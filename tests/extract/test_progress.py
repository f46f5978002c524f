"""What a run says: lines, JSON, bars; pace and time left from what is done."""

import io
import json

import pytest

from ser_extract.work import progress
from ser_extract.work.failures import Skipped, write_failures
from ser_extract.work.progress import BarReporter, JsonReporter, Phase, PlainReporter, Waiting, duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_time_left_follows_the_audio_done(clock):
    phase = Phase("audio", 10, 200.0)
    assert phase.left is None
    clock[0] += 30
    phase.add(1, 50.0)
    assert phase.share == 0.25
    assert phase.left == pytest.approx(90)
    assert phase.pace == "1.7 audio s/s"


def test_plain_lines_come_now_and_then_and_at_the_end(clock):
    stream = io.StringIO()
    plain = PlainReporter(stream)
    plain.begin("text", 100, 0.0)
    for _ in range(100):
        clock[0] += 0.5
        plain.advance("text", 1, 0.0)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("text: 20 of 100 utterances, 20 %, 2 utterances/s, 40 s left")
    assert lines[-1].startswith("text: 100 of 100 utterances, 100 %")


def test_json_lines_tell_the_same(clock):
    stream = io.StringIO()
    told = JsonReporter(stream)
    told.begin("audio", 2, 8.0)
    clock[0] += 4
    told.advance("audio", 1, 2.0)
    told.note("Größe")
    begin, advance, note = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert begin["event"] == "begin" and begin["of_audio_seconds"] == 8.0
    assert advance["audio_seconds"] == 2.0 and advance["left"] == 12.0
    assert note["text"] == "Größe"


def test_json_lines_do_not_drown_a_log(clock):
    stream = io.StringIO()
    told = JsonReporter(stream)
    told.begin("hash audio", 1000, 0.0)
    for _ in range(1000):
        clock[0] += 0.01
        told.advance("hash audio", 1, 0.0)
    done = [
        line["utterances"] for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == "advance"
    ]
    assert done[0] == 1 and done[-1] == 1000 and 18 <= len(done) <= 22  # ten seconds


def test_what_is_encoded_and_what_is_saved_are_two_counts(clock):
    stream, lines = io.StringIO(), io.StringIO()
    plain, told = PlainReporter(stream), JsonReporter(lines)
    for reporter in (plain, told):
        reporter.begin("text", 5, 0.0)
        clock[0] += 20
        reporter.advance("text", 2, 0.0)
        reporter.saved("text", 2)
        clock[0] += 20
        reporter.advance("text", 2, 0.0)
    assert [line.rpartition(", ")[2] for line in stream.getvalue().splitlines()] == ["0 saved", "2 saved"]
    events = [
        (line["event"], line["utterances"], line["saved"]) for line in map(json.loads, lines.getvalue().splitlines())
    ]
    assert events == [("begin", 0, 0), ("advance", 2, 0), ("saved", 2, 2), ("advance", 4, 2)]


def test_bars_start_and_end(capsys):
    bars = BarReporter()
    bars.begin("hash audio", 1, 0.0)
    bars.advance("hash audio", 1, 0.0)
    bars.begin("audio", 2, 5.0)
    bars.advance("audio", 2, 5.0)
    bars.note("[not markup]")
    bars.end()
    assert "[not markup]" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "words"), [(8, "8 s"), (180, "3 min"), (9000, "2.5 h")])
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_failures_are_harmless_to_a_spreadsheet(tmp_path):
    write_failures(tmp_path, [Skipped("=cmd()", "audio", "nan", "-1\n+2"), Skipped("a", "text", "x", "fine")])
    assert (tmp_path / "failures.csv").read_text().splitlines() == [
        "id,modality,reason,detail",
        "'=cmd(),audio,nan,'-1 +2",
        "a,text,x,fine",
    ]
    write_failures(tmp_path, [])
    assert (tmp_path / "failures.csv").read_text().splitlines() == ["id,modality,reason,detail"]
    assert [path.name for path in tmp_path.iterdir()] == ["failures.csv"]


def test_ctrl_c_says_how_long_the_shards_in_hand_may_take():
    from types import SimpleNamespace

    now = [0.0]
    units = [
        SimpleNamespace(key=("audio", (name, f"{name}2")), modality="audio", ids=(name, f"{name}2"), cost=cost)
        for name, cost in (("a", 40.0), ("b", 20.0), ("c", 20.0))
    ]
    wait = Waiting(units, workers=2, clock=lambda: now[0])  # type: ignore[arg-type]
    assert wait.seconds is None and str(wait) == "how long is not known yet"
    now[0] = 30.0
    wait.encoded("audio", 3)  # half of all: a cost of 40 in 30 s by two workers
    assert wait.seconds == 60.0 and str(wait) == "at most about 60 s"
    wait.saved(("audio", ("a", "a2")))
    assert wait.seconds == 30.0
    wait.saved(("audio", ("b", "b2")))
    wait.saved(("audio", ("c", "c2")))
    assert wait.seconds == 0.0
