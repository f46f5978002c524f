"""Complete, cut off, or nobody can tell: what containers declare against what can be decoded, in every container that is read."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ser_data.media.audio import AudioError, Limits, decode, probe_audio
from ser_data.media.isolated import IsolatedDecoder
from ser_data.media.length import length_of

KEEP = Limits(keep_truncated=True)
SOUND = (0.2 * np.random.default_rng(0).standard_normal(48_000)).astype(np.float32)  # 3 s at 16 kHz

LIBSNDFILE = {
    "a.wav": {}, "law.wav": {"subtype": "ULAW"}, "gsm.wav": {"subtype": "GSM610"}, "adpcm.wav": {"subtype": "MS_ADPCM"},
    "x.wav": {"format": "WAVEX"}, "a.rf64": {"format": "RF64"}, "a.aiff": {}, "a.au": {}, "a.w64": {}, "a.caf": {}, "a.flac": {},
    "a.mp3": {}, "a.sph": {"format": "NIST"}, "a.ogg": {}, "o.opus": {"format": "OGG", "subtype": "OPUS"},
}  # fmt: skip
PYAV = {
    "a.m4a": ("ipod", "aac", 16_000), "a.mp4": ("mp4", "aac", 44_100), "a.3gp": ("3gp", "aac", 16_000), "a.mov": ("mov", "aac", 16_000),
    "a.mkv": ("matroska", "aac", 16_000), "a.webm": ("webm", "libopus", 48_000), "a.aac": ("adts", "aac", 16_000),
    "a.amr": ("amr", "libopencore_amrnb", 8_000),
}  # fmt: skip
UNKNOWN_IF_CUT = {"a.ogg", "o.opus"}
ALWAYS_UNKNOWN = {"a.aac", "a.amr"}
UNREADABLE_IF_CUT = {"a.caf"}
"""libsndfile opens none of it; the reason is the same."""


def write_av(path: Path, form: str, codec: str, rate: int, seconds: float = 3.0, **options: str) -> Path:
    """Noise in a container of PyAV's, the index before the sound where the container has one."""
    av = pytest.importorskip("av")
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    noise = np.random.default_rng(1).standard_normal((1, round(rate * seconds))).astype(np.float32)
    fast = {"movflags": "faststart"} if form in ("ipod", "mp4", "3gp", "mov") else {}
    with av.open(str(path), "w", format=form, options=fast | options) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(0.2 * noise, format="fltp", layout="mono")
        frame.sample_rate = rate
        queue = av.AudioFifo()
        for part in av.AudioResampler(format=stream.format, layout=stream.layout, rate=rate).resample(frame):
            queue.write(part)
        size = stream.codec_context.frame_size or 1024
        while (part := queue.read(size, partial=True)) is not None:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return path


def write(folder: Path, name: str) -> Path:
    if name in LIBSNDFILE:
        sf.write(folder / name, SOUND, 16_000, **LIBSNDFILE[name])
        return folder / name
    return write_av(folder / name, *PYAV[name])


def cut(path: Path, share: float = 0.6) -> Path:
    data = path.read_bytes()
    short = path.with_name(f"cut-{path.name}")
    short.write_bytes(data[: int(len(data) * share)])
    return short


@pytest.mark.parametrize("name", [*LIBSNDFILE, *PYAV])
def test_every_container_is_complete_cut_off_or_unknown(tmp_path: Path, name: str) -> None:
    whole = write(tmp_path, name)
    samples, rate = decode(whole)
    assert abs(len(samples) / rate - 3.0) < 0.1
    info = probe_audio(whole)
    assert not info.missing and bool(info.unknown) == (name in ALWAYS_UNKNOWN)
    assert abs(info.duration - 3.0) < 0.15

    short = cut(whole)
    if name in UNKNOWN_IF_CUT | ALWAYS_UNKNOWN:
        samples, rate = decode(short)
        assert 0.5 < len(samples) / rate < 2.7
        assert probe_audio(short).unknown and not probe_audio(short).missing
        return
    with pytest.raises(AudioError) as caught:
        decode(short)
    assert caught.value.reason == "truncated"
    if name in UNREADABLE_IF_CUT:
        with pytest.raises(AudioError, match="60% of the bytes|58% of the bytes"):
            probe_audio(short)
        return
    assert probe_audio(short).missing
    kept, _ = decode(short, limits=KEEP)
    assert 1.2 < len(kept) / rate < 2.2
    np.testing.assert_allclose(kept[: rate // 2], samples[: rate // 2], atol=1e-3)
    if name != "gsm.wav":  # libsndfile cannot search in it
        assert len(decode(short, 0.25, 0.5)[0]) == round(0.5 * rate) - round(0.25 * rate)  # what is asked for is there


def test_a_tenth_of_a_second_may_be_missing(tmp_path: Path) -> None:
    whole = write(tmp_path, "a.wav")
    assert len(decode(cut(whole, (44 + 2 * 46_500) / (44 + 2 * 48_000)))[0]) == 46_500
    with pytest.raises(AudioError, match=r"header says 3\.00 s, 2\.89 s are there"):
        decode(cut(whole, (44 + 2 * 46_240) / (44 + 2 * 48_000)))


def test_a_damaged_flac_is_not_a_cut_one(tmp_path: Path) -> None:
    whole = write(tmp_path, "a.flac")
    data = bytearray(whole.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    whole.write_bytes(data)
    with pytest.raises(AudioError) as caught:
        decode(whole)
    assert caught.value.reason == "unreadable"


def streamed(size: int, whole: int, body: bytes) -> bytes:
    """A PCM-16 wav as a program writes it to a pipe: sizes of data and file are not known yet."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + fmt + struct.pack("<4sI", b"data", size) + body


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF - 36, 0x7FFFF000])
def test_streamed_wavs_leave_their_length_open(tmp_path: Path, size: int) -> None:
    body = (SOUND * 32767).astype("<i2").tobytes()
    (tmp_path / "a.wav").write_bytes(streamed(size, size, body))
    assert "streamed" in probe_audio(tmp_path / "a.wav").unknown or "open" in probe_audio(tmp_path / "a.wav").unknown
    assert len(decode(tmp_path / "a.wav")[0]) == len(SOUND)


def test_mp3_without_a_header_leaves_its_length_open(tmp_path: Path) -> None:
    path = write_av(tmp_path / "b.mp3", "mp3", "libmp3lame", 16_000, write_xing="0")
    assert "no header that says its length" in probe_audio(path).unknown
    assert len(decode(path)[0]) > 47_000


def test_webm_as_a_browser_records_it_leaves_its_length_open(tmp_path: Path) -> None:
    path = write_av(tmp_path / "a.webm", "webm", "libopus", 48_000, live="1")
    info = probe_audio(path)
    assert info.unknown and abs(info.duration - 3.0) < 0.1


def test_the_case_truncated_audio(shared: Path) -> None:
    folder = shared / "cases" / "truncated-audio"
    if not folder.is_dir():
        pytest.skip("no cases there")
    told = {}
    with IsolatedDecoder() as decoder:
        for name in ("t.wav", "cut-t.wav", "cut-t.mp3", "half.wav"):
            try:
                told[name] = len(decoder.decode(folder / name)[0])
            except AudioError as error:
                told[name] = f"{error.reason}: {error.detail}"
    assert told == {
        "t.wav": 61_929,
        "cut-t.wav": "truncated: its header says 3.87 s, 3.48 s are there",
        "cut-t.mp3": "truncated: its header says 3.87 s, 2.81 s are there",
        "half.wav": "truncated: its header says 3.06 s, 1.53 s are there",
    }


@pytest.mark.parametrize("name", list(PYAV))
def test_spans_are_those_of_the_whole(tmp_path: Path, name: str) -> None:
    form, codec, rate = PYAV[name]
    path = write_av(tmp_path / name, form, codec, rate, seconds=36.0)
    whole, rate = decode(path)
    for first, last in ((1.25, 2.5), (31.0, 33.0), (34.0, None)):
        part, _ = decode(path, first, last)
        expected = whole[round(first * rate) : None if last is None else round(last * rate)]
        assert abs(len(part) - len(expected)) <= rate // 1000  # the time stamps of webm and mkv are milliseconds
        settled = slice(rate // 4, min(len(part), len(expected)) - 1)  # decoders settle after a jump
        one, other = part[settled][100:-100], expected[settled]
        assert max(np.corrcoef(one, other[lag : lag + len(one)])[0, 1] for lag in range(70, 131)) > 0.95  # 0.6 ms
    with pytest.raises(AudioError) as caught:
        decode(path, 35.0, 40.0)
    assert caught.value.reason == "span"


@pytest.mark.parametrize("damage", ["cut", "zeros", "noise"])
@pytest.mark.parametrize("name", ["a.m4a", "a.webm", "a.amr"])
def test_hostile_containers_end_in_a_reason(tmp_path: Path, name: str, damage: str, tone: Callable[..., Path]) -> None:
    path = write(tmp_path, name)
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(3)
    with IsolatedDecoder(timeout=20) as decoder:
        for _ in range(12):
            broken = bytearray(data)
            place = int(random.integers(0, len(data) - 64))
            if damage == "cut":
                del broken[place:]
            else:
                broken[place : place + 64] = bytes(64) if damage == "zeros" else random.bytes(64)
            path.write_bytes(broken)
            for ask in (decoder.decode, decoder.probe):
                try:
                    ask(path)
                except AudioError as error:
                    assert error.reason in AudioError.REASONS
        assert len(decoder.decode(tone(tmp_path / "sound.wav"))[0])


def test_length_of_reads_anything(tmp_path: Path) -> None:
    for data in (b"", b"RIFF", b"fLaC", b"OggS\0", b"NIST_1A\n   x\n", b"ID3\4\0\0\x7f\x7f\x7f\x7f", b"\xff\xfb" * 4000, b"RIFF\0\0\0\0WAVE" + bytes(999)):  # fmt: skip
        (tmp_path / "x").write_bytes(data)
        assert length_of(tmp_path / "x").share <= 1.0
    assert length_of(tmp_path / "none") == length_of(tmp_path)
