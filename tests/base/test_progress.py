"""What is said of the work: lines, JSON, bars; pace and time left from what is done."""

import io
import json

import pytest

from ser_base.progress import Bars, JsonLines, Lines, Phase, counting, duration, say


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


def test_time_left_follows_the_audio_done(clock):
    phase = Phase("audio", 10, 200.0, "utterances", ("saved",), lambda: clock[0])
    assert phase.left is None
    clock[0] += 30
    phase.done, phase.done_seconds = 1, 50.0
    assert phase.share == 0.25
    assert phase.left == pytest.approx(90)
    assert phase.pace == "1.7 audio s/s"
    assert phase.words() == ["1.7 audio s/s", "2 min left", "0 saved"]


def test_lines_come_now_and_then_and_at_the_end(clock):
    stream = io.StringIO()
    plain = Lines(stream, lambda: clock[0])
    plain.begin("text", 100)
    for _ in range(100):
        clock[0] += 0.5
        plain.advance("text")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[0] == "text: 20 of 100 utterances, 20 %, 2 utterances/s, 40 s left"
    assert lines[-1] == "text: 100 of 100 utterances, 100 %, 2 utterances/s"


def test_bytes_and_slow_steps_have_words_of_their_own(clock):
    stream = io.StringIO()
    plain = Lines(stream, lambda: clock[0])
    plain.begin("verify", 4_000_000_000, unit="bytes")
    plain.begin("training", 60, unit="jobs", also=("epochs",))
    clock[0] += 20
    plain.advance("verify", 1_000_000_000)
    plain.also("training", "epochs", 33)
    plain.advance("training", 4, last="cross, fold 2: 4.8 s")
    assert stream.getvalue().splitlines() == [
        "verify: 1,000 of 4,000 MB, 25 %, 50 MB/s, 60 s left",
        "training: 4 of 60 jobs, 7 %, 5.0 s each, 5 min left, 33 epochs (cross, fold 2: 4.8 s)",
    ]


def test_json_lines_tell_the_same(clock):
    stream = io.StringIO()
    told = JsonLines(stream, lambda: clock[0])
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
    told = JsonLines(stream, lambda: clock[0])
    told.begin("hash audio", 1000)
    for _ in range(1000):
        clock[0] += 0.01
        told.advance("hash audio")
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    done = [event["utterances"] for event in events if event["event"] == "advance"]
    assert done[0] == 1 and done[-1] == 1000 and 18 <= len(done) <= 22  # ten seconds


def test_what_is_encoded_and_what_is_saved_are_two_counts(clock):
    stream, lines = io.StringIO(), io.StringIO()
    plain, told = Lines(stream, lambda: clock[0]), JsonLines(lines, lambda: clock[0])
    for shown in (plain, told):
        shown.begin("text", 5, also=("saved",))
        clock[0] += 20
        shown.advance("text", 2)
        shown.also("text", "saved", 2)
        clock[0] += 20
        shown.advance("text", 2)
    assert [line.rpartition(", ")[2] for line in stream.getvalue().splitlines()] == ["0 saved", "2 saved"]
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    counts = [(event["event"], event["utterances"], event["saved"]) for event in events]
    assert counts == [("begin", 0, 0), ("advance", 2, 0), ("saved", 2, 2), ("advance", 4, 2)]


def test_bars_start_and_end(capsys):
    bars = Bars()
    bars.begin("hash audio", 1)
    bars.advance("hash audio")
    bars.begin("audio", 2, 5.0, also=("saved",))
    bars.begin("audio", 2, 5.0, also=("saved",))  # once more: the clock begins again
    bars.advance("audio", 2, 5.0)
    bars.note("[not markup]")
    bars.end()
    told = capsys.readouterr().err
    assert "[not markup]" in told and "2 of 2 utterances" in told and "hash" not in told


def test_a_count_that_its_caller_keeps(capsys):
    with counting("Writing", "turns") as show:
        show(1, 3)
        show(3, 3)
    assert capsys.readouterr().err == ""  # a matter of a moment


def test_a_closed_stderr_ends_nothing():
    closed = io.StringIO()
    closed.close()
    say("nobody reads this", closed)
    Lines(closed).note("nor this")
    assert closed.closed


@pytest.mark.parametrize(("seconds", "words"), [(8, "8 s"), (180, "3 min"), (9000, "2.5 h")])
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words
