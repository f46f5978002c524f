"""Computes hand-crafted features of speech, as encoder classes of one layer and without weights: `--encoder prosody=NAME`.

`acoustic`      log-mel, MFCC, energy, F0 and voicing, 100 frames a second; numpy and torchaudio only
`egemaps`       the 88 functionals of eGeMAPSv02, one vector for each utterance
`egemaps-lld`   its 25 low-level descriptors, 100 frames a second

The last two need the extra `opensmile`. openSMILE is free for research, teaching and personal use; audEERING sells licences for
products. Source of the set: Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set", IEEE Trans. Affective Computing, 2016.
"""

import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from ser_base.errors import PackageMissing
from ser_extract.encoders.base import Modality

RATE: Final = 16_000
HOP: Final = 160
"""Samples between two frames: 10 ms."""
SETTINGS: Final[dict[str, Any]] = {
    "version": 1,  # raise it when features of the same recording change
    "window": 400,
    "pitch_window": 640,
    "mels": 40,
    "mel_range": [60.0, 7600.0],
    "mfcc": 13,
    "pitch_range": [60.0, 500.0],
    "voiced_from": 0.45,
}
FLOOR = 1e-10
"""Energy that counts as silence, so that logarithms stay finite."""
BLOCK = 2_048
"""Frames computed at once: memory does not grow with the recording."""
Array = NDArray[np.float32]


class Acoustic:
    """Computes log-mel, MFCC, log energy, log2 F0 (0 where unvoiced) and voicing. Frame k lies around sample `160 k`."""

    name: ClassVar = "acoustic"
    modality: ClassVar[Modality] = "prosody"
    layers, features = 1, SETTINGS["mels"] + SETTINGS["mfcc"] + 3
    rate, frame_rate, shortest = RATE, RATE / HOP, 1
    identity = SETTINGS

    def __init__(self, device: str) -> None:
        from torchaudio.functional import create_dct, melscale_fbanks

        self._bins = 512
        low, high = SETTINGS["mel_range"]
        self._mel = melscale_fbanks(self._bins // 2 + 1, low, high, SETTINGS["mels"], RATE).numpy()
        self._dct = create_dct(SETTINGS["mfcc"], SETTINGS["mels"], "ortho").numpy()
        self._window = np.hanning(SETTINGS["window"] + 1)[:-1].astype(np.float32)

    def frames(self, waveform: Array) -> Array:
        """Returns (1, frames, features) for a waveform (samples,) at 16 kHz."""
        side = SETTINGS["pitch_window"] // 2
        padded = np.pad(np.asarray(waveform, np.float32), (side, side - 1))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * side)[::HOP]
        blocks = [self._block(windows[start : start + BLOCK]) for start in range(0, len(windows), BLOCK)]
        return np.concatenate(blocks)[None]

    def _block(self, frames: Array) -> Array:
        edge = (frames.shape[1] - len(self._window)) // 2
        short = frames[:, edge : edge + len(self._window)] * self._window
        power = np.abs(np.fft.rfft(short, self._bins)) ** 2
        mel = np.log(np.maximum(power @ self._mel, FLOOR))
        energy = np.log(np.maximum((short**2).mean(1), FLOOR))
        f0, voicing = pitch(frames)
        octave = np.where(voicing >= SETTINGS["voiced_from"], np.log2(f0), 0.0)
        columns = (mel, mel @ self._dct, energy[:, None], octave[:, None], voicing[:, None])
        return np.concatenate(columns, axis=1, dtype=np.float32, casting="same_kind")


def pitch(frames: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimates F0 by autocorrelation, divided by that of the window.

    Source: Boersma, "Accurate short-term analysis of the fundamental frequency", IFA Proceedings 17, 1993.

    Args:
        frames: Windows of the waveform at 16 kHz, (frames, samples).

    Returns:
        F0 in Hz, (frames,), within `pitch_range`; voicing, (frames,), 0 to 1: the height of the peak. F0 is a guess where
        voicing is low.
    """
    low, high = SETTINGS["pitch_range"]
    lags = np.arange(int(RATE / high) - 1, int(RATE / low) + 2)
    size = frames.shape[1]
    window = np.hanning(size + 1)[:-1]
    padded = 1 << int(np.ceil(np.log2(size + lags[-1])))

    def correlate(values: NDArray[np.float64]) -> NDArray[np.float64]:
        spectrum = np.fft.rfft(values, padded)
        return np.fft.irfft(spectrum.real**2 + spectrum.imag**2, padded)[..., : lags[-1] + 1]

    window_curve = correlate(window)
    centred = (frames - frames.mean(1, keepdims=True)) * window
    frame_curves = correlate(centred)
    audible = frame_curves[:, :1] > FLOOR
    curve = frame_curves[:, lags] / np.where(audible, frame_curves[:, :1], 1.0) / (window_curve[lags] / window_curve[0])
    inner = curve[:, 1:-1]
    # a period twice as long fits as well: Boersma's octave cost prefers shorter ones
    peak = (inner - 0.01 * np.log2(lags[1:-1] * low / RATE)).argmax(1) + 1
    rows = np.arange(len(frames))
    left, top, right = curve[rows, peak - 1], curve[rows, peak], curve[rows, peak + 1]
    bend = left - 2 * top + right
    shift = np.where(np.abs(bend) > 1e-12, 0.5 * (left - right) / np.where(np.abs(bend) > 1e-12, bend, 1.0), 0.0)
    f0 = RATE / (lags[peak] + np.clip(shift, -0.5, 0.5))
    return np.clip(f0, low, high), np.where(audible[:, 0], np.clip(top, 0.0, 1.0), 0.0)


class _SmileIdentity:
    """Looks up the version and the set of openSMILE where they are asked for."""

    def __get__(self, encoder: object, kind: Any) -> dict[str, str]:
        try:
            return {"opensmile": version("opensmile"), "set": "eGeMAPSv02"}
        except PackageNotFoundError:
            raise PackageMissing(f"--encoder prosody={kind.name}", "opensmile", "opensmile") from None


class Egemaps:
    """Computes the functionals of eGeMAPSv02 by openSMILE: one vector for each utterance."""

    name: ClassVar = "egemaps"
    modality: ClassVar[Modality] = "prosody"
    layers, features, level = 1, 88, "Functionals"
    rate, shortest = RATE, 960
    frame_rate: ClassVar[float | None] = None
    identity = _SmileIdentity()

    def __init__(self, device: str) -> None:
        import opensmile

        self._smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel[self.level])

    def frames(self, waveform: Array) -> Array:
        """Returns (1, frames, features) for a waveform (samples,) at 16 kHz."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openSMILE warns of segments that are shorter than its longest window
            values: Array = self._smile.process_signal(waveform, RATE).to_numpy(np.float32)
        return values[None]


class EgemapsFrames(Egemaps):
    """Computes the low-level descriptors of eGeMAPSv02 by openSMILE, 100 frames a second."""

    name: ClassVar = "egemaps-lld"
    features, level = 25, "LowLevelDescriptors"
    frame_rate: ClassVar[float | None] = RATE / HOP
