"""Made-up transcripts: sentences from small vocabularies, with IEMOCAP's habits (tags, double spaces, recurring lines).

What the words tell is chosen by `plant`:

- `emotion`: the class colours a quarter of the words, the scene another part;
- `scenario`: words tell the scene and nothing else, so that a model learns the class only through the scene;
- `none`: words tell nothing.
"""

import numpy as np

PLANTS = ("emotion", "scenario", "none")
WORDS_PER_SECOND = 2.58  # IEMOCAP: 11.8 words in 4.57 s
RECURRING = 0.42  # share of scripted turns that are one of a few fixed lines
LINES = 12

_COMMON = [
    "the",
    "a",
    "and",
    "so",
    "but",
    "then",
    "we",
    "you",
    "they",
    "it",
    "this",
    "that",
    "there",
    "here",
    "now",
    "again",
    "maybe",
    "really",
    "just",
    "still",
    "about",
    "with",
    "from",
    "over",
    "into",
    "because",
    "when",
    "where",
    "what",
    "who",
    "how",
    "some",
    "more",
    "other",
    "same",
    "one",
    "two",
    "day",
    "time",
    "thing",
    "place",
    "people",
    "way",
    "word",
    "hand",
    "door",
]
_BY_CLASS = {
    "ang": "stop enough never lie shout furious insult blame damn unfair",
    "sad": "lost gone alone cry grave miss empty goodbye tears lonely",
    "hap": "smile sunny lovely gentle pleased cosy laugh sweet garden picnic",
    "exc": "wow amazing tickets winner finally incredible jump party hurray dream",
    "fru": "again broken queue form useless waiting wrong counter impossible stuck",
    "neu": "monday number street table report page office letter listing schedule",
    "sur": "suddenly unexpected strange impossible really ghost secret twist blink gasp",
}
_SYLLABLES = ["ba", "be", "bi", "bo", "bu", "da", "de", "di", "do", "du", "fa", "fe", "fi", "fo", "ga", "ge", "gi", "go", "ka", "ke", "ki", "ko", "la", "le", "li", "lo", "ma", "me", "mi", "mo", "na", "ne", "ni", "no", "ra", "re", "ri", "ro", "ta", "te", "ti", "to", "va", "ve", "vi", "vo"]  # fmt: skip
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
        """A sentence of that many words; what it tells depends on the plant."""
        chosen = self.rng.choice(_COMMON, words).tolist()
        draw = self.rng.random(words)
        if self.plant == "scenario":
            self._mix(chosen, draw < 0.5, self.topic(scenario))
        elif self.plant == "emotion":
            self._mix(chosen, draw < 0.15, self.topic(scenario))
            self._mix(chosen, draw > 0.75, _BY_CLASS.get(label, _BY_CLASS["neu"]).split())
        chosen[0] = chosen[0].capitalize()
        return " ".join(chosen) + ("." if self.rng.random() < 0.8 else "?")

    def _mix(self, words: list[str], where: "np.typing.NDArray[np.bool_]", source: list[str]) -> None:
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
