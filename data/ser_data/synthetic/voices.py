"""Fast voices: a buzzing tone with formants and syllables, one per speaker (and class), long enough to cut turns from.

This is no speech; it has pitch, loudness, rate and pauses, which is enough to exercise extraction and to carry a planted
signal. 12.4 h take well under a minute, because a voice is made once and turns are copies with their own gain.
"""

import numpy as np
import numpy.typing as npt

RATE = 16_000
# Class -> pitch factor, pitch movement, syllables per second, loudness, breath
_STYLES = {
    "ang": (1.20, 0.10, 5.0, 1.00, 0.02),
    "exc": (1.35, 0.16, 5.4, 0.90, 0.03),
    "fru": (1.08, 0.07, 4.4, 0.80, 0.05),
    "hap": (1.25, 0.13, 4.8, 0.75, 0.04),
    "neu": (1.00, 0.04, 4.2, 0.60, 0.03),
    "sad": (0.90, 0.03, 3.1, 0.40, 0.10),
    "sur": (1.45, 0.20, 4.6, 0.85, 0.06),
}


class Voices:
    """Makes and keeps the voices of one corpus.

    Args:
        plant: With `emotion`, class and voice go together; else a speaker always sounds the same.
        seed: Of the voices.
        longest: The longest turn in seconds; a voice is made a little longer.
    """

    def __init__(self, plant: str, seed: int, longest: float) -> None:
        self.plant, self.seed = plant, seed
        self._samples = int((longest * 1.2 + 3.0) * RATE)
        self._made: dict[tuple[int, str, str], npt.NDArray[np.float32]] = {}

    def turn(
        self, session: int, speaker: str, label: str, samples: int, rng: np.random.Generator
    ) -> npt.NDArray[np.int16]:
        """A turn of that many samples at 16 kHz: a random cut with its own gain and soft edges.

        Returns:
            Shape (samples,), int16.
        """
        style = label if self.plant == "emotion" and label in _STYLES else "neu"
        voice = self._voice(session, speaker, style)
        first = int(rng.integers(0, len(voice) - samples))
        cut = voice[first : first + samples] * np.float32(rng.uniform(0.5, 1.0) * 30_000)
        edge = min(320, samples // 4)
        ramp = np.linspace(0.0, 1.0, edge, dtype=np.float32)
        cut[:edge] *= ramp
        cut[samples - edge :] *= ramp[::-1]
        return cut.astype(np.int16)

    def _voice(self, session: int, speaker: str, style: str) -> npt.NDArray[np.float32]:
        key = (session, speaker, style)
        if key not in self._made:
            self._made[key] = _make(*key, self.seed, self._samples)
        return self._made[key]


def _slow(rng: np.random.Generator, count: int, per_second: float) -> npt.NDArray[np.float32]:
    """Smooth noise of unit size with about `per_second` changes a second, linearly interpolated."""
    knots = rng.standard_normal(int(count / RATE * per_second) + 3).astype(np.float32)
    at = np.arange(count, dtype=np.float32) * np.float32(per_second / RATE)
    left = at.astype(np.int32)
    share = at - left
    return np.asarray(knots[left] * (1 - share) + knots[left + 1] * share, dtype=np.float32)


def _make(session: int, speaker: str, style: str, seed: int, count: int) -> npt.NDArray[np.float32]:
    """One voice, (count,) float32 within -1..1."""
    pitch, movement, rate, loudness, breath = _STYLES[style]
    person = np.random.default_rng([seed, session, ord(speaker)])
    base = (205.0 if speaker == "F" else 115.0) * float(person.uniform(0.88, 1.12)) * pitch
    formants = np.array([560.0, 1500.0, 2600.0]) * float(person.uniform(0.92, 1.1)) * (1.12 if speaker == "F" else 1.0)
    rng = np.random.default_rng([seed, session, ord(speaker), *map(ord, style)])
    frequency = base * np.exp(np.float32(movement) * _slow(rng, count, 3.0))
    phase = np.cumsum(frequency / RATE, dtype=np.float64) % 1.0
    # one period of the buzz: harmonics with the formants' gains, looked up by phase
    harmonics = np.arange(1, int(3800 / base) + 1)
    gains = sum(np.exp(-(((harmonics * base - formant) / 260.0) ** 2)) for formant in formants) + 0.05
    period = (
        gains[:, None] / harmonics[:, None] ** 0.4 * np.sin(2 * np.pi * harmonics[:, None] * np.arange(2048) / 2048)
    ).sum(0)
    buzz = (period / np.abs(period).max()).astype(np.float32)[(phase * 2048).astype(np.int32)]
    syllables = np.clip(0.55 + 0.6 * _slow(rng, count, rate * 2), 0.02, 1.0)
    noise = rng.standard_normal(count).astype(np.float32) * np.float32(breath)
    return np.asarray(np.clip((buzz * 0.8 + noise) * syllables * loudness, -1, 1), dtype=np.float32)
