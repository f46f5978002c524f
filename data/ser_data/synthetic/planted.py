"""What the turns of an IEMOCAP-shaped corpus say, and how they sound; `plant` decides what both tell about the label.

- `emotion`: the class colours a quarter of the words, the scene another part, and every class has its own voice;
- `scenario`: words tell the scene and nothing else, so that a model learns the class only through the scene;
- `none`: words tell nothing.

Sentences come from small vocabularies and have IEMOCAP's habits (tags, double spaces, recurring lines). Voices are a buzzing
tone with formants and syllables, one per speaker (and class), long enough to cut turns from. This is not speech: it has
pitch, loudness, rate and pauses, which is enough to exercise extraction and to carry a planted signal. 12.4 h take well under
a minute, because a voice is made once and turns are copies with their own gain.
"""

import numpy as np
import numpy.typing as npt

PLANTS = ("emotion", "scenario", "none")
WORDS_PER_SECOND = 2.58  # IEMOCAP: 11.8 words in 4.57 s
RECURRING = 0.42  # share of scripted turns that are one of a few fixed lines
LINES = 12

_COMMON = [
    "the", "a", "and", "so", "but", "then", "we", "you", "they", "it", "this", "that", "there", "here", "now",
    "again", "maybe", "really", "just", "still", "about", "with", "from", "over", "into", "because", "when",
    "where", "what", "who", "how", "some", "more", "other", "same", "one", "two", "day", "time", "thing", "place",
    "people", "way", "word", "hand", "door",
]  # fmt: skip
_BY_CLASS = {
    "ang": "stop enough never lie shout furious insult blame damn unfair",
    "sad": "lost gone alone cry grave miss empty goodbye tears lonely",
    "hap": "smile sunny lovely gentle pleased cosy laugh sweet garden picnic",
    "exc": "wow amazing tickets winner finally incredible jump party hurray dream",
    "fru": "again broken queue form useless waiting wrong counter impossible stuck",
    "neu": "monday number street table report page office letter listing schedule",
    "sur": "suddenly unexpected strange impossible really ghost secret twist blink gasp",
}
_SYLLABLES = [
    "ba", "be", "bi", "bo", "bu", "da", "de", "di", "do", "du", "fa", "fe", "fi", "fo", "ga", "ge", "gi", "go",
    "ka", "ke", "ki", "ko", "la", "le", "li", "lo", "ma", "me", "mi", "mo", "na", "ne", "ni", "no", "ra", "re",
    "ri", "ro", "ta", "te", "ti", "to", "va", "ve", "vi", "vo",
]  # fmt: skip
TAGS = ("[LAUGHTER]", "[BREATHING]", "[GARBAGE]", "[LIPSMACK]")


class Writer:
    """Writes transcripts for one corpus.

    Args:
        plant: One of `PLANTS`.
        seed: Of all vocabularies and sentences.
    """

    def __init__(self, plant: str, seed: int) -> None:
        self.plant = plant
        self.rng = np.random.default_rng([seed, 77])
        self._topics: dict[str, list[str]] = {}
        self._lines: dict[tuple[str, str], list[str]] = {}

    def topic(self, scenario: str) -> list[str]:
        """Twelve made-up words that belong to one scene."""
        if scenario not in self._topics:
            own = np.random.default_rng([ord(char) for char in scenario])  # the same for every seed
            self._topics[scenario] = ["".join(own.choice(_SYLLABLES, 3)) for _ in range(12)]
        return self._topics[scenario]

    def sentence(self, words: int, scenario: str, label: str) -> str:
        """A sentence of that many words; the plant decides what its words depend on."""
        chosen = self.rng.choice(_COMMON, words).tolist()
        draw = self.rng.random(words)
        if self.plant == "scenario":
            self._mix(chosen, draw < 0.5, self.topic(scenario))
        elif self.plant == "emotion":
            self._mix(chosen, draw < 0.15, self.topic(scenario))
            self._mix(chosen, draw > 0.75, _BY_CLASS.get(label, _BY_CLASS["neu"]).split())
        chosen[0] = chosen[0].capitalize()
        return " ".join(chosen) + ("." if self.rng.random() < 0.8 else "?")

    def _mix(self, words: list[str], where: npt.NDArray[np.bool_], source: list[str]) -> None:
        for i in np.flatnonzero(where):
            words[i] = source[int(self.rng.integers(len(source)))]

    def line(self, seconds: float, scenario: str, label: str) -> str:
        """The transcript of a turn of that length, before tags and white space."""
        if scenario.startswith("script") and self.rng.random() < RECURRING:
            key = {"emotion": (scenario, label), "scenario": (scenario, ""), "none": ("", "")}[self.plant]
            if key not in self._lines:
                self._lines[key] = [self.sentence(int(n), *key) for n in self.rng.integers(3, 15, LINES)]
            return self._lines[key][int(self.rng.integers(LINES))]
        words = int(np.clip(round(seconds * WORDS_PER_SECOND * float(self.rng.uniform(0.7, 1.3))), 1, 100))
        return self.sentence(words, scenario, label)


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
