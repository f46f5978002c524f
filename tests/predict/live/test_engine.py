"""Windows of a stream: every sample in its place, one window of memory, what is late is skipped."""

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_predict.live.engine import Engine, Stream, Uploaded, Window

RATE = 1_000


def ramp(start: int, count: int) -> bytes:
    return (np.arange(start, start + count) % 30_000).astype("<i2").tobytes()


def test_the_first_window_is_shorter_and_the_others_slide():
    stream = Stream(RATE, window=4, hop=1, first=2)
    ends = []
    for tenth in range(70):
        stream.add(ramp(tenth * 100, 100))
        if stream.due:
            window = stream.take()
            ends.append((window.start, window.end, window.skipped))
            assert list(window.samples[:2]) == [round(window.start * RATE), round(window.start * RATE) + 1]
    assert ends == [(0, 2, 0), (0, 3, 0), (0, 4, 0), (1, 5, 0), (2, 6, 0), (3, 7, 0)]


def test_what_is_late_is_skipped_and_counted():
    stream = Stream(RATE, window=2, hop=0.5, first=2)
    stream.add(ramp(0, 2_000))
    stream.add(ramp(2_000, 3_100))  # a busy time: windows at 2, 2.5, 3, 3.5, 4, 4.5 and 5 are due
    window = stream.take()
    assert (window.start, window.end, window.skipped) == (3.1, 5.1, 6)
    assert not stream.due
    stream.add(ramp(5_100, 400))
    assert stream.due and stream.take().skipped == 0


def test_the_rest_is_answered_once_and_only_if_there_is_enough():
    stream = Stream(RATE, window=2, hop=0.5, first=2)
    stream.add(ramp(0, 900))
    assert stream.rest(1.0) is None
    stream.add(ramp(900, 300))
    rest = stream.rest(1.0)
    assert rest is not None and (rest.start, rest.end) == (0, 1.2)
    assert stream.rest(1.0) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=3_000), max_size=40))
def test_any_bytes_keep_the_newest_samples_and_no_more(parts: list[bytes]):
    stream = Stream(RATE, window=1, hop=0.25, first=0.5)
    heard = b""
    for part in parts:
        stream.add(part)
        heard += part[: len(part) // 2 * 2]
        if stream.due:
            window = stream.take()
            assert window.end * RATE == pytest.approx(len(heard) // 2)
            assert window.samples.tobytes() == heard[-2 * len(window.samples) :]
            assert len(window.samples) == min(RATE, len(heard) // 2)


def test_the_segmenter_of_recordings_cuts_uploads_and_silences_windows_without_speech(predictor: Any):
    pytest.importorskip("silero_vad", reason="needs the extra vad")
    draw = np.random.default_rng(0)
    talk = draw.normal(0, 1e-4, 4 * 16_000).astype(np.float32)
    talk[8_000:24_000] += draw.normal(0, 0.1, 16_000).astype(np.float32)
    talk[40_000:56_000] += draw.normal(0, 0.1, 16_000).astype(np.float32)

    async def ask(vad: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        engine = Engine(predictor(row="audio", fold="1", seed=0, segment=True, vad=vad), 1.0)
        answers = [answer async for answer in engine.answers("talk.wav", Uploaded(talk, 4.0, []))]
        window = Window(0.0, 4.0, (talk * 32_767).astype(np.int16), 0.0, 0)
        answer = await engine.window(window, 16_000)
        engine.close()
        return answers, answer

    cut, heard = asyncio.run(ask("energy"))
    assert [(one["start"], one["end"]) for one in cut] == [(0.5, 1.5), (2.5, 3.5)] and "label" in heard
    nothing, quiet = asyncio.run(ask("silero"))  # noise is loud, and not speech
    assert quiet == {"type": "window", "start": 0.0, "end": 4.0, "quiet": True}
    assert [one["error"] for one in nothing] == ["it does not have a segment of speech"]
