"""The decoder in a child process: the same samples, and a reason when the child dies or hangs."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ser_data.media.audio import AudioError, Limits, load_audio, probe_audio
from ser_data.media.isolated import IsolatedDecoder


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    sf.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).normal(size=(60_000, 2)), 22_050)
    return tmp_path / "a.wav"


def child_pid(decoder: IsolatedDecoder) -> int:
    assert decoder._child is not None
    return decoder._child.pid


def test_same_samples_as_in_process(speech: Path) -> None:
    with IsolatedDecoder() as decoder:
        np.testing.assert_array_equal(decoder.load(speech), load_audio(speech))
        np.testing.assert_array_equal(decoder.load(speech, 8_000, 0.5, 1.75), load_audio(speech, 8_000, 0.5, 1.75))
        assert decoder.probe(speech) == probe_audio(speech)
        assert decoder.starts == 1


def test_threads_wait_for_each_other(speech: Path) -> None:
    expected = [load_audio(speech, start=0.1 * k, end=0.1 * k + 0.5) for k in range(12)]
    with IsolatedDecoder() as decoder, ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda k: decoder.load(speech, 16_000, 0.1 * k, 0.1 * k + 0.5), range(12))
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert decoder.starts == 1


def test_same_reasons_as_in_process(speech: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"garbage")
    with IsolatedDecoder(limits=Limits(longest=2.5)) as decoder:
        for path, span, reason in (
            (tmp_path / "no.wav", (None, None), "missing"),
            (tmp_path / "bad.wav", (None, None), "unreadable"),
            (speech, (2.0, 4.0), "span"),
            (speech, (None, None), "too_long"),
        ):
            with pytest.raises(AudioError) as caught:
                decoder.load(path, 16_000, *span)
            assert (caught.value.path, caught.value.reason) == (str(path), reason)
        with pytest.raises(AudioError, match="does not exist"):
            decoder.probe(tmp_path / "no.wav")
        assert decoder.starts == 1, "a file that is refused does not cost a child"


def test_names_that_are_not_utf8(speech: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9 \n.wav"
    os.rename(speech, odd)
    with IsolatedDecoder() as decoder:
        assert len(decoder.load(Path(os.fsdecode(odd)))) > 0


def test_hang_is_told_and_the_next_file_is_read(speech: Path) -> None:
    with IsolatedDecoder() as decoder:
        decoder.load(speech)
        os.kill(child_pid(decoder), signal.SIGSTOP)  # as a decoder that loops for ever
        decoder.timeout = 0.7
        with pytest.raises(AudioError) as caught:
            decoder.load(speech)
        assert caught.value.reason == "decoder_hang"
        decoder.timeout = 300.0
        assert len(decoder.load(speech)) > 0 and decoder.starts == 2


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_crash_is_told_and_the_next_file_is_read(speech: Path, number: signal.Signals) -> None:
    with IsolatedDecoder() as decoder:
        decoder.load(speech)
        pid = child_pid(decoder)
        os.kill(pid, signal.SIGSTOP)  # so that it dies with the question in hand
        timers = [threading.Timer(0.2, os.kill, (pid, number)), threading.Timer(0.3, os.kill, (pid, signal.SIGCONT))]
        timers[0].start()
        if number != signal.SIGKILL:
            timers[1].start()
        with pytest.raises(AudioError) as caught:
            decoder.load(speech)
        for timer in timers:
            timer.cancel()
        assert (caught.value.reason, caught.value.detail) == ("decoder_crash", number.name)
        assert len(decoder.load(speech)) > 0 and decoder.starts == 2


def test_processor_time_is_bounded(tmp_path: Path) -> None:
    """A file that decodes for longer than the limit is stopped by the kernel, whatever the wall clock of a busy machine."""
    sf.write(tmp_path / "long.flac", np.random.default_rng(0).integers(-9_000, 9_000, 16_000 * 600, np.int16), 16_000)
    with IsolatedDecoder(timeout=0.05) as decoder, pytest.raises(AudioError) as caught:
        decoder.load(tmp_path / "long.flac")
    assert caught.value.reason == "decoder_hang"


def test_ends_with_its_owner(speech: Path) -> None:
    with IsolatedDecoder() as decoder:
        decoder.load(speech)
        pid = child_pid(decoder)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert len(decoder.load(speech)) > 0, "and starts again when asked"
    decoder.close()


def test_nothing_is_imported_from_the_working_directory(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corpus folder may hold any file; the child must not take `soundfile.py` of it for the library."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "soundfile.py").write_text("open('ran', 'w')\nraise SystemExit")
    with IsolatedDecoder() as decoder:
        assert len(decoder.load(speech)) > 0
    assert not (tmp_path / "ran").exists()


def test_child_goes_when_its_owner_is_killed(speech: Path) -> None:
    code = f"""if True:
        import os, signal
        from ser_data.media.isolated import IsolatedDecoder
        decoder = IsolatedDecoder()
        decoder.load({str(speech)!r})
        print(decoder._child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while alive := _runs(pid):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the child {pid} is still there")
        time.sleep(0.1)
    assert not alive


def _runs(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return False
