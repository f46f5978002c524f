"""Hand-crafted features: right on sounds whose pitch is known, exact, cached and fingerprinted like any encoder's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ser_base.errors import PackageMissing, UnknownName
from ser_cache import SpecMismatch, open_cache
from ser_extract.cli import command
from ser_extract.encoders import FEATURES
from ser_extract.encoders.plugged import find_class, open_class
from ser_extract.encoders.prosody import RATE, Acoustic
from ser_extract.errors import EncoderBroken
from ser_extract.inputs.streams import open_encoder
from ser_extract.job import ExtractJob
from ser_extract.run import run
from ser_extract.testing import check_encoder

Array = np.ndarray[Any, Any]
LICENCE = "opensmile is not a part of the extra test: its licence is for research"


def acoustic(waveform: Array) -> Array:
    return Acoustic("cpu").frames(waveform)[0]


def voice(f0: float, seconds: float = 0.5) -> Array:
    """Harmonics of a fundamental, falling with frequency."""
    t = np.arange(round(seconds * RATE)) / RATE
    waves = (np.sin(2 * np.pi * f0 * k * t) / k for k in range(1, int(4000 / f0)))
    return (0.1 * np.sum(list(waves), axis=0)).astype(np.float32)


@pytest.mark.parametrize("name", list(FEATURES))
def test_a_set_keeps_the_contract_of_encoders(name: str) -> None:
    if name.startswith("egemaps"):
        pytest.importorskip("opensmile", reason=LICENCE)
    check_encoder(str(find_class(name)))


@pytest.mark.parametrize("f0", [80.0, 123.4, 210.0, 390.0])
def test_the_pitch_of_a_voice_is_found_within_one_percent(f0: float) -> None:
    frames = acoustic(voice(f0))[3:-3]
    assert np.abs(2 ** frames[:, -2] / f0 - 1).max() < 0.01
    assert frames[:, -1].min() > 0.9


def test_noise_and_silence_are_unvoiced() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    for waveform in (noise, np.zeros(RATE, np.float32)):
        frames = acoustic(waveform)
        assert np.isfinite(frames).all() and (frames[:, -2] == 0).mean() > 0.9


def test_log_mel_equals_torchaudio_s() -> None:
    import torch
    from torchaudio.transforms import MelSpectrogram

    waveform = voice(150.0)
    spectrogram = MelSpectrogram(RATE, 512, 400, 160, 60.0, 7600.0, n_mels=40, pad_mode="constant")
    double = torch.from_numpy(waveform).double()  # in float32, torch's own error depends on the processor
    mel = spectrogram.double()(double)
    inner = slice(2, -2)  # torchaudio centres its window in 512 samples, and has a frame at the very end
    assert np.abs(mel.T.clamp(min=1e-10).log().numpy()[:-1][inner] - acoustic(waveform)[inner, :40]).max() < 5e-3


def test_frames_come_at_once_or_block_by_block() -> None:
    long = np.tile(voice(150.0), 50)
    whole = acoustic(long)
    assert len(whole) == len(long) // 160 > 2_048
    assert np.abs(acoustic(long[: 1_000 * 160])[:990] - whole[:990]).max() < 1e-4


def test_egemaps_equals_opensmile() -> None:
    opensmile = pytest.importorskip("opensmile", reason=LICENCE)
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    ours = FEATURES["egemaps"]("cpu").frames(voice(130.0))
    assert ours.shape == (1, 1, 88) and np.array_equal(ours[0], smile.process_signal(voice(130.0), RATE))


def test_a_cache_holds_prosody_beside_the_encoders(corpus: Callable[..., Path], job: Callable[..., Any]) -> None:
    root = corpus(3)
    asked = job(root, modalities=("audio", "prosody"), layer="2")
    assert run(asked).encoded == {"audio": 3, "prosody": 3}
    entry = open_cache(asked.cache).select(modality="prosody")
    assert (entry.spec.encoder, entry.spec.layer, entry.spec.frame_rate) == ("acoustic", 0, 100.0)
    assert entry.spec.declared["identity"]["version"] == 1
    assert run(asked).encoded == {"audio": 0, "prosody": 0}
    with pytest.raises(SpecMismatch, match="channel"):
        run(asked.model_copy(update={"channel": "left", "modalities": ("prosody",)}))


def test_an_unknown_set_and_another_stream_are_refused(tmp_path: Path) -> None:
    def asked(encoder: str) -> ExtractJob:
        return ExtractJob(corpus="csv", cache=tmp_path, encoder=encoder)

    with pytest.raises(UnknownName, match="acoustic, egemaps"):
        open_encoder(asked("prosody=egemap"), "prosody")
    with pytest.raises(EncoderBroken, match="--encoder prosody="):
        open_encoder(asked("audio=acoustic"), "audio")


def test_without_opensmile_the_extra_is_named(corpus: Callable[..., Path], tmp_path: Path) -> None:
    try:
        import opensmile  # noqa: F401
    except ImportError:
        with pytest.raises(PackageMissing, match=r"ser-fusion\[opensmile\]"):
            open_class(str(find_class("egemaps")), "prosody")
        options = ["--corpus", "csv", "--root", str(corpus(1)), "--cache", str(tmp_path / "cache")]
        result = CliRunner().invoke(command, [*options, "--modalities", "prosody", "--encoder", "prosody=egemaps"])
        assert result.exit_code == 1 and "ser-fusion[opensmile]" in result.output
    else:
        pytest.skip("opensmile is installed")
