"""The page in a real browser, with a real voice as its microphone: keyboard, answers, latency, upload, phone width."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("websockets", reason="needs the extra live")
from devtools import CHROMIUM, browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"),
]
FINISHED = "document.body.dataset.state === 'done'"
ANSWERS = "[...document.querySelectorAll('#log tr')].map(row => [...row.cells].map(cell => cell.textContent))"
LATENCIES = "[...document.querySelectorAll('#log tr')].map(row => Number(row.dataset.latency)).reverse()"


@pytest.fixture(scope="module")
def sentence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence of RAVDESS where it is, twice; else one by the demo corpus's synthesiser. About 5 seconds."""
    import os

    from ser_data.media.audio import load_audio

    path = tmp_path_factory.mktemp("voice") / "sentence.wav"
    shared = Path(os.environ.get("SER_SHARED", Path(__file__).parents[4] / "shared"))
    clip = shared / "corpora/ravdess/audio/Actor_01/03-01-05-02-01-01-01.flac"
    if clip.is_file():
        samples, rate = load_audio(clip), 16_000
    else:
        pytest.importorskip("espeakng_loader", reason="needs the extra demo")
        from ser_data.synthetic.espeak import Line, synthesise

        ((samples, rate),) = synthesise([Line("Everything went wrong on Monday, and nobody told me.")])
    soundfile.write(path, np.concatenate([samples, samples]), rate, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def asr() -> list[str]:
    """Arguments for real words, where there is a recogniser."""
    import os

    folder = Path(os.environ.get("SER_SHARED", Path(__file__).parents[4] / "shared")) / "models/whisper-tiny.en"
    return ["--asr", str(folder)] if folder.is_dir() else []


def complaints(tab: Any) -> list[str]:
    """What the console holds: exceptions, violations of the policy, failed requests."""
    kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
    return [json.dumps(one["params"]) for one in tab.events if one["method"] in kinds]


def test_a_voice_goes_in_and_answers_are_seen(start_server: Any, sentence: Path, asr: list[str], tmp_path: Path):
    server = start_server("--window", 3, "--hop", 1, "--threshold", 0, *asr)
    with browser(tmp_path, sentence, server.address) as tab:
        tab.until("document.body?.dataset.state === 'idle' && document.readyState === 'complete'")
        tab.press("Tab", 9)  # by keyboard: the first thing to reach is the microphone
        assert tab.run("document.activeElement.id") == "talk"
        assert tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        tab.press("Enter", 13, "\r")
        tab.until("document.body.dataset.state === 'listening'")
        tab.until("document.getElementById('log').rows.length >= 2", 120)
        tab.press("Enter", 13, "\r")
        tab.until(FINISHED, 120)
        answers = tab.run(ANSWERS)
        assert len(answers) >= 2 and all(row[1] in ("happy", "sad", "neutral", "quiet") for row in answers)
        assert any(row[1] != "quiet" for row in answers)
        latencies = tab.run(LATENCIES)
        assert all(0 < one < 120 for one in latencies)
        assert tab.run("document.getElementById('behind').textContent").endswith(" s")
        heard = float(tab.run("document.getElementById('status').textContent").split()[1])
        assert heard >= 3
        if asr:
            assert any(len(row[3].split()) >= 2 for row in answers), answers
        pixels = tab.run(
            "(() => { const c = document.getElementById('timeline'); const d = c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data; return new Set(new Uint32Array(d.buffer)).size })()"
        )
        assert pixels > 5, "voice, posteriors and answers are drawn"
        assert complaints(tab) == []


def test_a_file_by_upload_and_a_hostile_one(server: Any, small: Any, sentence: Path, tmp_path: Path):
    bad = tmp_path / "<img src=x onerror=alert(1)>.wav"
    bad.write_bytes(b"<html>not sound</html>")
    with browser(tmp_path, sentence, server.address) as tab:
        tab.until("document.body?.dataset.state === 'idle' && document.readyState === 'complete'")
        tab.send("DOM.enable")
        root = tab.send("DOM.getDocument")["root"]["nodeId"]
        node = tab.send("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        tab.send("DOM.setFileInputFiles", files=[str(bad)], nodeId=node)
        tab.until("document.body.dataset.state === 'error'")
        assert "cannot be decoded" in tab.run("document.getElementById('status').textContent")
        assert tab.run("document.querySelectorAll('img').length") == 0
        tab.send("DOM.setFileInputFiles", files=[str(sentence)], nodeId=node)
        tab.until(FINISHED)
        assert len(tab.run(ANSWERS)) >= 2
        for width in (320, 390, 1280):
            tab.size(width, 800, phone=width < 500, dark=width == 320)
            assert tab.run("document.documentElement.scrollWidth <= innerWidth"), width
        assert tab.run("Math.min(...[...document.querySelectorAll('button')].map(b => b.offsetHeight))") >= 44
        light = tab.run("getComputedStyle(document.body).backgroundColor")
        tab.size(390, 800, phone=True, dark=True)
        assert tab.run("getComputedStyle(document.body).backgroundColor") != light
        told = [one for one in complaints(tab) if "422" not in one]  # the refused upload is told by the browser as well
        assert told == []
