"""Mutated audio files: features or a reason, but no crash, no hang, no memory beyond the bound.

200 mutants in every run, 2,000 with `-m crash` (`make crash`). A failing mutant is named by its number: the same number
gives the same bytes.
"""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ser_data.media.audio import REASONS, AudioError, Limits
from ser_data.media.isolated import IsolatedDecoder

SEED = 20_261_122
MEMORY = 400e6  # bytes of the child: 60 MB of libraries, and twice the most that `LIMITS` lets one file decode to
LIMITS = Limits(longest=600.0, decoded_bytes=1 << 27)
TIMEOUT = 60.0  # of wall time too: more than a busy machine needs for a small file


def seeds() -> list[bytes]:
    """One second of coloured noise in every kind of file that corpora come in."""
    rng = np.random.default_rng(0)
    noise = np.convolve(rng.normal(size=16_007), np.ones(8) / 24)[:16_000]
    kinds = [
        ("WAV", name, 1) for name in ("PCM_16", "PCM_24", "FLOAT", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610")
    ]
    kinds += [("WAV", "PCM_16", 2), ("WAVEX", "PCM_16", 2), ("RF64", "PCM_16", 1), ("W64", "PCM_16", 1)]
    kinds += [
        ("FLAC", "PCM_16", 1),
        ("FLAC", "PCM_24", 2),
        ("OGG", "VORBIS", 1),
        ("OGG", "VORBIS", 2),
        ("OGG", "OPUS", 1),
    ]
    kinds += [("MP3", "MPEG_LAYER_III", 1), ("MP3", "MPEG_LAYER_III", 2), ("AIFF", "PCM_16", 1), ("CAF", "PCM_16", 1)]
    files = []
    for kind, subtype, channels in kinds:
        file = io.BytesIO()
        sf.write(file, np.stack([noise] * channels, axis=1), 16_000, format=kind, subtype=subtype)
        files.append(file.getvalue())
    return files


def mutant(number: int, files: list[bytes]) -> bytes:
    """Flipped bits, extreme words, cut, doubled and shifted pieces; half of them in the first 200 bytes, where headers lie."""
    rng = np.random.default_rng([SEED, number])
    data = bytearray(files[number % len(files)])
    for _ in range(int(rng.integers(1, 6))):
        reach = len(data) if rng.random() < 0.5 else min(200, len(data))
        place = int(rng.integers(0, max(1, reach)))
        match int(rng.integers(0, 6)):
            case 0:
                data[place : place + 1] = bytes([rng.integers(0, 256)])
            case 1:
                data[place : place + 4] = int(
                    rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF])
                ).to_bytes(4, "little")
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
    "count", [200, pytest.param(2_000, marks=[pytest.mark.crash, pytest.mark.slow])], ids=["slice", "full"]
)
def test_every_mutant_is_audio_or_a_reason(tmp_path: Path, count: int) -> None:
    files = seeds()
    path = tmp_path / "mutant.audio"
    outcomes: dict[str, int] = {}
    with IsolatedDecoder(timeout=TIMEOUT, limits=LIMITS) as decoder:
        for number in range(count):
            path.write_bytes(mutant(number, files))
            try:
                samples, rate = decoder.decode(path)
            except AudioError as error:
                outcome = error.reason
                assert outcome in REASONS, number
            else:
                outcome = "audio"
                assert np.isfinite(samples).all() and samples.any(), number
                assert LIMITS.shortest * rate <= len(samples) <= LIMITS.longest * rate, number
                assert LIMITS.lowest_rate <= rate <= LIMITS.highest_rate, number
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            child = decoder._child
            assert child is not None and high_water(child.pid) < MEMORY, number
    print(outcomes)
    assert decoder.starts == 1, f"the decoder died or hung: {outcomes}"
    assert outcomes["audio"] > count / 10 and outcomes["unreadable"] > count / 10, "the mutants test too little"


def test_the_files_before_mutation_are_audio(tmp_path: Path) -> None:
    with IsolatedDecoder() as decoder:
        for number, data in enumerate(seeds()):
            (tmp_path / "seed.audio").write_bytes(data)
            samples, rate = decoder.decode(tmp_path / "seed.audio")
            assert abs(len(samples) / rate - 1.0) < 0.15, number
