"""Frames of video files: the right ones, at the right times, or a reason; hostile files do no harm.

`mutant` is that of the audio fuzz test: 60 mutants in every run, 600 with `-m crash`.
"""

import io
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_data.media.video import REASONS, VideoError, VideoLimits, frame_count, video_hash

pytest.importorskip("av", reason="video needs PyAV: pip install 'ser-fusion[video]'")

from ser_data.media.isolated import IsolatedVideoDecoder
from ser_data.media.video import decode_video, probe_video
from ser_data.synthetic.clips import draw, write_video

SEED = 20_261_125
RATE = 10
TIMEOUT = 60.0  # of wall time too: more than a busy machine needs for a small file
MEMORY = (
    600e6  # bytes of the child: 130 MB of libraries, and a few times the most that `LIMITS` lets one file decode to
)
LIMITS = VideoLimits(decoded_bytes=1 << 26, pixels=1 << 20)


def counted(count: int, size: tuple[int, int] = (32, 48)) -> Iterator[np.ndarray]:
    """Pictures whose left half is as bright as their number, 4 to a level; the right half is dark."""
    for k in range(count):
        picture = np.zeros((*size, 3), np.uint8)
        picture[:, : size[1] // 2] = 4 * k
        yield picture


def shown(frames: np.ndarray) -> list[int]:
    """The numbers of pictures that `counted` made, from the left edge."""
    return [round(float(frame[:, :16].mean()) / 4) for frame in frames]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    made = {}
    for name, codec in (("a.avi", None), ("b.mp4", None), ("c.mp4", "libx264"), ("d.mkv", None)):
        write_video(folder / name, counted(50), RATE, codec=codec)
        made[name] = folder / name
    return made


@pytest.fixture(scope="module")
def decoder() -> Iterator[IsolatedVideoDecoder]:
    with IsolatedVideoDecoder(timeout=TIMEOUT, limits=LIMITS) as made:
        yield made


@pytest.mark.parametrize("name", ["a.avi", "b.mp4", "c.mp4", "d.mkv"])
def test_the_picture_in_the_middle_of_each_slot(name: str, clips: dict[str, Path], decoder: IsolatedVideoDecoder):
    path = clips[name]
    whole = decoder.load(path, 2.0)
    assert whole.shape == (10, 32, 48, 3) and whole.dtype == np.uint8
    assert np.abs(np.array(shown(whole)) - [2 + 5 * k for k in range(10)]).max() <= 1
    span = decoder.load(path, 5.0, 2.0, 3.1)  # middles 2.1, 2.3 ... 2.9; that of the last slot, 3.1, is the end
    assert len(span) == frame_count(1.1, 5.0) == 5
    assert np.abs(np.array(shown(span)) - [21, 23, 25, 27, 29]).max() <= 1
    faster = decoder.load(path, 40.0, 1.0, 1.2)  # more than the file has: pictures are shown again
    assert np.abs(np.array(shown(faster)) - np.repeat([10, 11], 4)).max() <= 1
    assert len(decoder.load(path, 2.0, 4.0, 4.01)) == 1, "every span has a frame"
    assert np.array_equal(span, decode_video(path, 5.0, 2.0, 3.1)), "as without the child"


def test_halves_are_the_pictures_own(clips: dict[str, Path], decoder: IsolatedVideoDecoder):
    whole = decoder.load(clips["a.avi"], 2.0)
    left, right = (decoder.load(clips["a.avi"], 2.0, crop=half) for half in ("left", "right"))
    assert np.array_equal(np.concatenate([left, right], 2), whole)
    assert left[-1].mean() > 150 and right[-1].mean() < 20


def test_a_span_equals_that_part_of_the_whole(clips: dict[str, Path], decoder: IsolatedVideoDecoder):
    """Jumping to a key picture gives what decoding from the beginning gives."""
    for path in clips.values():
        whole = decoder.load(path, 10.0)
        for first in (0.0, 1.3, 2.7, 4.4):
            part = decoder.load(path, 10.0, first, first + 0.5)
            start = round(first * 10)
            assert np.array_equal(part, whole[start : start + 5]), (path.name, first)


def test_what_the_header_says(clips: dict[str, Path], decoder: IsolatedVideoDecoder):
    info = decoder.probe(clips["c.mp4"])
    assert (info.duration, info.width, info.height, info.rate, info.codec) == (5.0, 48, 32, 10.0, "h264")
    assert info == probe_video(clips["c.mp4"])


def test_hash_of_bytes_span_and_crop(clips: dict[str, Path], tmp_path: Path):
    path = clips["a.avi"]
    spans = [(None, None, None), (0.0, 2.0, None), (0.0, 2.0, "left"), (0.0, 2.0, "right"), (1.0, 2.0, "left")]
    hashes = [video_hash(path, *span) for span in spans]
    assert len(set(hashes)) == len(spans) and all(len(value) == 32 for value in hashes)
    assert video_hash(path, 0.0, float("nan")) == hashes[0]
    other = tmp_path / "moved.avi"
    other.write_bytes(path.read_bytes())
    assert [video_hash(other, *span) for span in spans] == hashes
    other.write_bytes(path.read_bytes()[:-1] + b"x")
    assert video_hash(other) != hashes[0]


def failing(decoder: IsolatedVideoDecoder, path: Path, *span: float | None, fps: float = 2.0) -> VideoError:
    with pytest.raises(VideoError) as caught:
        decoder.load(path, fps, *span)
    assert caught.value.reason in REASONS and caught.value.path == str(path)
    return caught.value


def test_hostile_files_have_a_reason(clips: dict[str, Path], decoder: IsolatedVideoDecoder, tmp_path: Path):
    started = decoder.starts
    avi, mp4 = clips["a.avi"].read_bytes(), clips["b.mp4"].read_bytes()
    soundfile.write(sound := io.BytesIO(), np.random.default_rng(0).normal(size=4000) * 0.1, 16_000, format="WAV")
    cases = {
        "gone.mp4": (None, "missing"),
        "nothing.mp4": (b"", "empty"),
        "text.mp4": (b"hello, this is no video\n" * 50, "unreadable"),
        "playlist.mp4": (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n" + bytes(clips["a.avi"]) + b"\n",
            "unreadable",
        ),
        "concat.mp4": (b"ffconcat version 1.0\nfile " + bytes(clips["a.avi"]) + b"\n", "unreadable"),
        "sound.avi": (sound.getvalue(), "unreadable"),  # a container that is not on the list
        "cut.avi": (avi[: avi.index(b"movi") + 1200], "truncated"),
        "head.avi": (avi[:2000], None),
        "cut.mp4": (mp4[: len(mp4) * 6 // 10], "unreadable"),  # its index was at the end
        "codec.avi": (avi.replace(b"DIVX", b"QQQQ"), "codec"),
        "codec.mp4": (clips["c.mp4"].read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"), "codec"),
    }
    for name, (data, reason) in cases.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        error = failing(decoder, tmp_path / name)
        assert reason in (None, error.reason), f"{name}: {error}"
        assert name in str(error)
    os.mkfifo(tmp_path / "pipe.mp4")
    assert failing(decoder, tmp_path / "pipe.mp4").detail == "not a regular file"
    assert failing(decoder, tmp_path).reason == "unreadable"
    assert failing(decoder, clips["a.avi"], 3.0, 7.0).reason == "span"
    assert failing(decoder, clips["a.avi"], 8.0, 9.0).reason == "span"
    assert failing(decoder, clips["a.avi"], 3.0, 2.0).reason == "span"
    assert failing(decoder, clips["a.avi"], 0.0, 4_000.0).reason == "too_long"
    assert failing(decoder, clips["a.avi"], 0.0, 3_000.0, fps=30.0).reason == "limits"
    assert decoder.starts <= started + 1, "a file that is refused costs no child"


def test_a_file_without_a_video_track(decoder: IsolatedVideoDecoder, tmp_path: Path):
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    error = failing(decoder, tmp_path / "sound.mp4")
    assert (error.reason, error.detail) == ("no_video", "it holds audio")


def test_a_huge_declared_size_costs_nothing(clips: dict[str, Path], decoder: IsolatedVideoDecoder, tmp_path: Path):
    data = clips["a.avi"].read_bytes()
    for width, height in ((32_000, 32_000), (60_000, 60_000), (0x7FFFFFFF, 2), (0xFFFFFFF0, 0xFFFFFFF0)):
        huge = bytearray(data)
        for place in (data.index(b"avih") + 8 + 32, data.index(b"strf") + 8 + 4):
            huge[place : place + 8] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
        (tmp_path / "huge.avi").write_bytes(huge)
        try:  # the codec's own header may know better
            assert decoder.load(tmp_path / "huge.avi", 2.0).nbytes < 1 << 20
        except VideoError as error:
            assert error.reason in ("limits", "unreadable", "codec"), error
        assert decoder._child is not None and high_water(decoder._child.pid) < MEMORY
    write_video(tmp_path / "large.mp4", counted(3, (1200, 1200)), RATE)  # honest, and beyond these limits
    assert failing(decoder, tmp_path / "large.mp4").reason == "limits"
    write_video(tmp_path / "many.mp4", counted(60, (640, 640)), RATE)
    error = failing(decoder, tmp_path / "many.mp4", fps=60.0)
    assert error.reason == "limits" and "--fps" in error.detail


def test_hang_and_crash_are_told_and_the_next_file_is_read(clips: dict[str, Path]):
    with IsolatedVideoDecoder() as decoder:
        decoder.load(clips["a.avi"], 2.0)
        assert decoder._child is not None
        os.kill(decoder._child.pid, signal.SIGSTOP)  # as a decoder that loops for ever
        decoder.timeout = 1.0
        assert failing(decoder, clips["a.avi"]).reason == "decoder_hang"
        decoder.timeout = 300.0
        assert len(decoder.load(clips["a.avi"], 2.0)) == 10 and decoder.starts == 2
        os.kill(decoder._child.pid, signal.SIGSTOP)
        threading.Timer(0.2, os.kill, (decoder._child.pid, signal.SIGKILL)).start()  # dies with the file in hand
        assert failing(decoder, clips["a.avi"]).reason == "decoder_crash"
        assert len(decoder.load(clips["a.avi"], 2.0)) == 10 and decoder.starts == 3


def mutant(number: int, files: list[bytes]) -> bytes:
    """Flipped bytes, extreme words, cut, doubled and shifted pieces; half of them in the first 600 bytes."""
    rng = np.random.default_rng([SEED, number])
    data = bytearray(files[number % len(files)])
    for _ in range(int(rng.integers(1, 6))):
        reach = len(data) if rng.random() < 0.5 else min(600, len(data))
        place = int(rng.integers(0, max(1, reach)))
        match int(rng.integers(0, 6)):
            case 0:
                data[place : place + 1] = bytes([rng.integers(0, 256)])
            case 1:
                word = int(rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF]))
                data[place : place + 4] = word.to_bytes(4, "little" if rng.random() < 0.5 else "big")
            case 2:
                data[place : place + 8] = rng.bytes(8)
            case 3:
                del data[place : place + int(rng.integers(1, 400))]
            case 4:
                data[place:place] = data[place : place + int(rng.integers(1, 400))]
            case 5:
                del data[max(place, 16) :]
    return bytes(data)


def high_water(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize(
    "count", [60, pytest.param(600, marks=[pytest.mark.crash, pytest.mark.slow])], ids=["slice", "full"]
)
def test_every_mutant_is_frames_or_a_reason(clips: dict[str, Path], tmp_path: Path, count: int):
    files = [path.read_bytes() for path in clips.values()]
    outcomes: dict[str, int] = {}
    with IsolatedVideoDecoder(timeout=TIMEOUT, limits=LIMITS) as decoder:
        for number in range(count):
            path = tmp_path / "mutant.video"
            path.write_bytes(mutant(number, files))
            span = (1.2, 3.0) if number % 2 else (None, None)
            try:
                frames = decoder.load(path, 2.0, *span)
            except VideoError as error:
                outcome = error.reason
                assert outcome in REASONS, number
            else:
                outcome = "frames"
                assert frames.ndim == 4 and frames.shape[3] == 3 and 1 <= len(frames) <= LIMITS.frames, number
                assert frames.nbytes <= LIMITS.decoded_bytes, number
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            if decoder._child is not None:
                assert high_water(decoder._child.pid) < MEMORY, number
    print(outcomes, "children:", decoder.starts)
    assert outcomes["frames"] > count / 10 and sum(outcomes.values()) - outcomes["frames"] > count / 10, (
        "they test little"
    )


def test_drawn_classes_differ_and_the_empty_stage_is_flat():
    pictures = [draw((64, 48), number, 4, 0.3) for number in range(-1, 4)]
    assert pictures[0].std() == 0
    assert len({picture.tobytes() for picture in pictures}) == 5
