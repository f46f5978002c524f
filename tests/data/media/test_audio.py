"""Spans of audio files as mono samples at one rate: right values, and a reason for everything that is not audio."""

import math
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ser_data.errors import CorpusError
from ser_data.media.audio import REASONS, AudioError, Limits, audio_hash, decode, load_audio, probe_audio, quiet
from ser_data.media.resampling import FILTER_LIMIT, filter_size, ratio, resample


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0, gain: float = 0.5) -> np.ndarray:
    return (gain * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def reason(path: Path | str, **options: object) -> str:
    with pytest.raises(AudioError) as caught:
        load_audio(path, **options)  # type: ignore[arg-type]
    assert caught.value.reason in REASONS
    return caught.value.reason


def riff(data_size: int, channels: int = 1, rate: int = 16_000, body: bytes = b"\1\2" * 100) -> bytes:
    """A PCM-16 wav whose header may claim anything."""
    block = 2 * channels
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * block % 2**32, block % 2**16, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + data_size & 0xFFFFFFFF, b"WAVE") + fmt + struct.pack("<4sI", b"data", data_size) + body  # fmt: skip


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Bytes by which the process grew at its highest point within the block, decoder libraries included."""

    def kilobytes(field: str) -> int:
        return next(
            int(line.split()[1])
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith(field)
        )

    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    except OSError:
        pytest.skip("this system does not tell a process's highest memory")
    before, peak = kilobytes("VmRSS"), [0]
    yield peak
    peak[0] = (kilobytes("VmHWM") - before) * 1024


class TestValues:
    @pytest.mark.parametrize(
        "subtype,tolerance", [("PCM_16", 2**-15), ("PCM_24", 1e-6), ("FLOAT", 0.0), ("ULAW", 0.03)]
    )
    def test_wav(self, tmp_path: Path, subtype: str, tolerance: float) -> None:
        sf.write(tmp_path / "a.wav", tone(0.5), 16_000, subtype=subtype)
        samples = load_audio(tmp_path / "a.wav")
        assert samples.dtype == np.float32 and samples.shape == (8_000,)
        np.testing.assert_allclose(samples, tone(0.5), atol=tolerance, rtol=0)

    @pytest.mark.parametrize(
        "name,options",
        [
            ("a.flac", {}),
            ("a.ogg", {}),
            ("a.mp3", {}),
            ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
            ("a.aiff", {}),
        ],
    )
    def test_containers(self, tmp_path: Path, name: str, options: dict[str, str]) -> None:
        sf.write(tmp_path / name, tone(1.0), 16_000, **options)
        samples = load_audio(tmp_path / name)
        assert abs(len(samples) - 16_000) <= 2_400  # mp3 pads to whole frames
        spectrum = np.abs(np.fft.rfft(samples[2_000:10_000]))
        assert abs(np.argmax(spectrum) * 2 - 440) <= 2  # bins of 2 Hz
        assert 0.4 < np.abs(samples[4_000:8_000]).max() < 0.6

    def test_several_channels_become_their_mean(self, tmp_path: Path) -> None:
        sf.write(
            tmp_path / "a.wav", np.stack([tone(0.2), -tone(0.2), 3 * tone(0.2, gain=0.2)], axis=1), 16_000, "FLOAT"
        )
        np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), tone(0.2, gain=0.2), atol=1e-6)

    def test_more_blocks_than_one(self, tmp_path: Path) -> None:
        samples = np.random.default_rng(0).uniform(-1, 1, 200_001).astype(np.float32)
        sf.write(tmp_path / "a.wav", samples, 16_000, "FLOAT")
        np.testing.assert_array_equal(load_audio(tmp_path / "a.wav"), samples)

    def test_span(self, tmp_path: Path) -> None:
        samples = np.random.default_rng(0).uniform(-1, 1, 48_000).astype(np.float32)
        for name in ("a.wav", "a.flac"):
            sf.write(tmp_path / name, samples, 16_000, subtype="PCM_24")
            whole = load_audio(tmp_path / name)
            np.testing.assert_array_equal(load_audio(tmp_path / name, start=1.25, end=2.5), whole[20_000:40_000])
            np.testing.assert_array_equal(load_audio(tmp_path / name, start=2.0), whole[32_000:])
            np.testing.assert_array_equal(load_audio(tmp_path / name, start=math.nan, end=math.nan), whole)

    @pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
    def test_span_of_a_lossy_file_is_that_of_the_whole(self, tmp_path: Path, name: str) -> None:
        rng = np.random.default_rng(0)
        sf.write(tmp_path / name, np.convolve(rng.normal(size=64_000), np.ones(8) / 30)[:64_000], 16_000)
        whole, part = load_audio(tmp_path / name), load_audio(tmp_path / name, start=2.0, end=3.0)
        assert len(part) == 16_000
        np.testing.assert_allclose(part[1_600:], whole[33_600:48_000], atol=1e-3)  # decoders settle after a seek

    def test_span_may_end_a_frame_behind_the_file(self, tmp_path: Path) -> None:
        sf.write(tmp_path / "a.wav", tone(1.0), 16_000)
        assert len(load_audio(tmp_path / "a.wav", start=0.5, end=1.01)) == 8_000


class TestResampling:
    @pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000])
    def test_a_tone_stays_itself(self, tmp_path: Path, rate: int) -> None:
        sf.write(tmp_path / "a.wav", tone(1.0, rate), rate, "FLOAT")
        samples = load_audio(tmp_path / "a.wav")
        assert len(samples) == 16_000
        np.testing.assert_allclose(samples[800:-800], tone(1.0)[800:-800], atol=2e-3)

    def test_equals_torchaudio(self) -> None:
        import torch
        from torchaudio.functional import resample as reference

        samples = np.random.default_rng(1).normal(size=30_011).astype(np.float32)
        for source in (8_000, 22_050, 44_100, 48_000):
            expected = reference(torch.from_numpy(samples).double(), source, 16_000).numpy()
            np.testing.assert_allclose(resample(samples, source, 16_000), expected, rtol=0, atol=3e-6)

    @pytest.mark.parametrize("block", [1, 1_000, 44_100])
    def test_blocks_do_not_show(self, block: int) -> None:
        samples = np.random.default_rng(2).normal(size=9_999).astype(np.float32)
        np.testing.assert_allclose(
            resample(samples, 44_100, 16_000, block), resample(samples, 44_100, 16_000), atol=1e-6
        )

    def test_rates_without_a_small_ratio_are_refused(self, tmp_path: Path) -> None:
        assert ratio(44_100, 16_000) == (441, 160)
        assert filter_size(44_100, 16_000) < FILTER_LIMIT < filter_size(44_101, 16_000)
        sf.write(tmp_path / "a.wav", tone(0.1, 44_101), 44_101)
        assert reason(tmp_path / "a.wav") == "limits"

    def test_no_torch_where_nothing_is_resampled(self, tmp_path: Path) -> None:
        sf.write(tmp_path / "a.wav", tone(0.1), 16_000)
        code = f"import sys; from ser_data.media.audio import load_audio; load_audio({str(tmp_path / 'a.wav')!r}); print('torch' in sys.modules)"
        assert (
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
        )


class TestReasons:
    def test_missing(self, tmp_path: Path) -> None:
        assert reason(tmp_path / "no.wav") == reason(tmp_path / "no" / "no.wav") == "missing"

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_bytes(b"")
        (tmp_path / "b.wav").write_bytes(riff(0, body=b""))
        assert reason(tmp_path / "a.wav") == reason(tmp_path / "b.wav") == "empty"

    @pytest.mark.parametrize("content", [b"garbage " * 50, b"RIFF", riff(200)[:30], b"<html>not found</html>"])
    def test_unreadable(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.wav").write_bytes(content)
        assert reason(tmp_path / "a.wav") == "unreadable"

    def test_without_pyav_the_error_names_the_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.M4A").write_bytes(b"\0\0\0\x20ftypM4A " * 20)
        assert reason(tmp_path / "a.M4A") == "unreadable"
        monkeypatch.setitem(sys.modules, "av", None)  # as Python sees a package that is not installed
        for read in (load_audio, probe_audio):
            with pytest.raises(AudioError, match=r"needs PyAV.*pip install 'ser-fusion\[video\]'"):
                read(tmp_path / "a.M4A")

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.wav")  # would block a reader for ever
        assert (
            reason(tmp_path)
            == reason(tmp_path / "pipe.wav")
            == reason("/dev/zero")
            == reason("a\0b.wav")
            == "unreadable"
        )

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_nan(self, tmp_path: Path, value: float) -> None:
        samples = np.stack([tone(5.0), tone(5.0)], axis=1)
        samples[70_000, 1] = value
        sf.write(tmp_path / "a.wav", samples, 16_000, "FLOAT")
        assert reason(tmp_path / "a.wav") == "nan"
        assert len(load_audio(tmp_path / "a.wav", end=4.0)) == 64_000  # what is asked for is sound

    def test_too_short_and_too_long(self, tmp_path: Path) -> None:
        sf.write(tmp_path / "a.wav", tone(1.0)[:399], 16_000)
        sf.write(tmp_path / "b.wav", tone(2.0), 16_000)
        assert reason(tmp_path / "a.wav") == "too_short"
        assert reason(tmp_path / "b.wav", limits=Limits(longest=1.5)) == "too_long"
        assert reason(tmp_path / "b.wav", end=1.9, limits=Limits(longest=1.5)) == "too_long"
        assert len(load_audio(tmp_path / "b.wav", end=1.0, limits=Limits(longest=1.5))) == 16_000

    def test_silent(self, tmp_path: Path) -> None:
        sf.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
        assert reason(tmp_path / "a.wav") == "silent"

    @pytest.mark.parametrize("start,end", [(0.5, 1.5), (1.0, None), (7.0, 8.0), (-0.5, 0.5), (0.5, 0.5), (0.6, 0.5)])
    def test_span(self, tmp_path: Path, start: float, end: float | None) -> None:
        sf.write(tmp_path / "a.wav", tone(1.0), 16_000)
        assert reason(tmp_path / "a.wav", start=start, end=end) == "span"

    def test_limits(self, tmp_path: Path) -> None:
        sf.write(tmp_path / "a.wav", np.stack([tone(0.1)] * 3, axis=1), 16_000)
        assert reason(tmp_path / "a.wav", limits=Limits(channels=2)) == "limits"
        assert reason(tmp_path / "a.wav", limits=Limits(lowest_rate=20_000)) == "limits"
        assert reason(tmp_path / "a.wav", limits=Limits(file_bytes=1_000)) == "limits"
        assert reason(tmp_path / "a.wav", limits=Limits(decoded_bytes=4_000)) == "too_long"

    def test_error_tells_and_travels(self, tmp_path: Path) -> None:
        sf.write(tmp_path / "a.wav", tone(1.2), 16_000)
        with pytest.raises(CorpusError) as caught:
            load_audio(tmp_path / "a.wav", start=0.5, end=2.71)
        text = str(caught.value)
        assert (
            text
            == f"{tmp_path}/a.wav: its span does not lie in the file (0.50 to 2.71 s, the file ends at 1.20 s; is it cut off?)"
        )
        assert str(pickle.loads(pickle.dumps(caught.value))) == text


FLAC_HEADER = b"fLaC\x80\x00\x00\x22" + struct.pack(">HH", 4096, 4096) + bytes(6)


def flac_claiming(frames: int) -> bytes:
    """STREAMINFO of mono 16-bit 16 kHz audio that claims `frames`, and 57 bytes of nothing."""
    packed = (16_000 << 44) | (0 << 41) | (15 << 36) | frames
    return FLAC_HEADER + packed.to_bytes(8, "big") + bytes(16) + b"\xff\xf8" + bytes(55)


HEADERS = {
    "g1: 244 bytes that claim 4 GB": riff(0xFFFFFFF0),
    "g2: and 1,024 channels": riff(0xFFFFFFF0, channels=1_024),
    "g3: 4 GHz": riff(200, rate=0xFFFFFFFF),
    "g4: no samples": riff(0, body=b""),
    "g5: FLAC of 2^36 - 1 frames": flac_claiming(2**36 - 1),
    "65,535 channels": riff(200, channels=65_535),
    "0 channels": riff(200, channels=0),
    "0 Hz": riff(200, rate=0),
}


class TestHeaders:
    @pytest.mark.parametrize("name", list(HEADERS))
    def test_claims_cost_nothing(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "a.wav").write_bytes(HEADERS[name])
        with peak_memory() as peak:
            if name.startswith("g1"):
                # libsndfile clamps the claim to the 100 samples that are there: too short, but audio
                assert reason(tmp_path / "a.wav") == "too_short"
                assert len(load_audio(tmp_path / "a.wav", limits=Limits(shortest=0.0))) == 100
            else:
                assert reason(tmp_path / "a.wav") in {"empty", "unreadable", "limits"}
        assert peak[0] < 30e6

    def test_ten_minutes_of_nothing_in_28_kilobytes(self, tmp_path: Path) -> None:
        sf.write(tmp_path / "g6.flac", np.zeros(600 * 16_000, np.int16), 16_000)
        assert (tmp_path / "g6.flac").stat().st_size < 120_000
        with peak_memory() as peak:
            assert reason(tmp_path / "g6.flac", limits=Limits(longest=60.0)) == "too_long"
        assert peak[0] < 30e6
        assert reason(tmp_path / "g6.flac") == "silent"


class TestProbeAndHash:
    def test_probe(self, tmp_path: Path) -> None:
        sf.write(tmp_path / "a.flac", np.stack([tone(1.5, 44_100)] * 2, axis=1), 44_100)
        info = probe_audio(tmp_path / "a.flac")
        assert (info.frames, info.rate, info.channels, info.duration, info.format) == (66_150, 44_100, 2, 1.5, "FLAC")
        with pytest.raises(AudioError, match="does not exist"):
            probe_audio(tmp_path / "b.flac")

    def test_hash_is_of_bytes_and_span(self, tmp_path: Path) -> None:
        sf.write(tmp_path / "a.wav", tone(1.0), 16_000)
        (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes())
        sf.write(tmp_path / "c.wav", tone(1.0, gain=0.4), 16_000)
        a, b, c = (tmp_path / f"{name}.wav" for name in "abc")
        assert audio_hash(a) == audio_hash(b) == audio_hash(a, 0.0, math.nan)
        assert audio_hash(a, 0.25, 0.5) == audio_hash(b, np.float64(0.25), 0.5)
        hashes = [
            audio_hash(a),
            audio_hash(c),
            audio_hash(a, 0.25),
            audio_hash(a, None, 0.25),
            audio_hash(a, 0.25, 0.5),
        ]
        assert len(set(hashes)) == 5 and all(len(h) == 32 and int(h, 16) >= 0 for h in hashes)

    def test_known_answer(self, tmp_path: Path) -> None:
        """Hashes lie in caches: they may not change from release to release."""
        (tmp_path / "a.wav").write_bytes(b"speech")
        assert audio_hash(tmp_path / "a.wav") == "886f727d230109a893e13c994c63b4cb"
        assert audio_hash(tmp_path / "a.wav", 0.5, 1.25) == "2ee88f52341c0de56831b1f28b70f85c"

    def test_hash_of_a_span_follows_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_bytes(b"first")
        before = audio_hash(tmp_path / "a.wav", 0.0, 1.0)
        (tmp_path / "a.wav").write_bytes(b"second")
        assert audio_hash(tmp_path / "a.wav", 0.0, 1.0) != before

    def test_decode_keeps_the_files_own_rate(self, tmp_path: Path) -> None:
        sf.write(tmp_path / "a.wav", tone(1.0, 22_050), 22_050)
        samples, rate = decode(tmp_path / "a.wav")
        assert (len(samples), rate) == (22_050, 22_050)


class TestChannels:
    def test_channels_that_cancel_are_told_and_one_can_be_taken(self, tmp_path: Path) -> None:
        left = tone(0.5)
        sf.write(tmp_path / "a.wav", np.stack([left, -left], axis=1), 16_000, "FLOAT")
        with pytest.raises(AudioError, match="cancel; take one of them: ser-extract --channel left") as caught:
            load_audio(tmp_path / "a.wav")
        assert caught.value.reason == "silent"
        for channel, expected in (("left", left), ("right", -left)):
            np.testing.assert_array_equal(load_audio(tmp_path / "a.wav", limits=Limits(channel=channel)), expected)
        sf.write(tmp_path / "silent.wav", np.zeros((8_000, 2)), 16_000)
        with pytest.raises(AudioError, match=r"every sample is zero \(0\.50 s\)"):
            load_audio(tmp_path / "silent.wav")
        sf.write(tmp_path / "mono.wav", left, 16_000, "FLOAT")
        np.testing.assert_array_equal(load_audio(tmp_path / "mono.wav", limits=Limits(channel="right")), left)

    def test_noise_of_one_bit_is_quiet(self) -> None:
        noise = np.random.default_rng(0).integers(-1, 2, 16_000).astype(np.float32) / 32_768
        assert "-92 dBFS" in quiet(noise) and not quiet(tone(0.5, gain=0.01))


class TestStreamedWav:
    """Programs that write to a pipe cannot come back to the header; some leave 0 there."""

    @pytest.mark.parametrize("whole", [0, 36, 0xFFFFFFFF])
    def test_a_data_size_of_0_means_up_to_the_end(self, tmp_path: Path, whole: int) -> None:
        samples = tone(3.0)
        body = (samples * 32_767).astype("<i2").tobytes()
        head = bytearray(riff(0, body=b""))
        head[4:8] = struct.pack("<I", whole)
        (tmp_path / "a.wav").write_bytes(bytes(head) + body)
        np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), samples, atol=1e-4)
        info = probe_audio(tmp_path / "a.wav")
        assert info.frames == 48_000 and "0 bytes" in info.unknown
        np.testing.assert_allclose(
            load_audio(tmp_path / "a.wav", start=1.0, end=2.0), samples[16_000:32_000], atol=1e-4
        )

    def test_a_file_that_says_its_size_and_has_no_data_is_empty(self, tmp_path: Path) -> None:
        tail = b"LIST" + struct.pack("<I", 4) + b"INFO"
        head = bytearray(riff(0, body=b""))
        head[4:8] = struct.pack("<I", len(head) + len(tail) - 8)
        (tmp_path / "a.wav").write_bytes(bytes(head) + tail)
        assert reason(tmp_path / "a.wav") == "empty"
