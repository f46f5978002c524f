"""Speakers of the demo corpus and how they speak in each state: rate, volume, pitch and range for espeak-ng.

How it is said tells arousal better than the class within it: anger and excitement sound alike, and so do frustration,
happiness and surprise. Every turn deviates from its class, some turns are acted as another class.
"""

import random
from dataclasses import dataclass
from typing import Final

from ser_data.synthetic.speech.sentences import CLASSES
from ser_data.synthetic.speech.synthesis import Line


@dataclass(frozen=True)
class Speaker:
    """One of the ten.

    Attributes:
        name: Session and gender, e.g. `1F`; in the corpus's grammar the speaker's name.
        voice: espeak-ng's voice.
        pitch: Habitual pitch, 0 to 99.
        rate: Words per minute above or below the others.
        volume: Above or below the others.
    """

    name: str
    voice: str
    pitch: int
    rate: int
    volume: int


SPEAKERS: Final = {
    speaker.name: speaker
    for speaker in (
        Speaker("1F", "en-us+f1", 52, 0, 0),
        Speaker("1M", "en-us+m1", 45, -6, 5),
        Speaker("2F", "en-us+f2", 46, 6, -8),
        Speaker("2M", "en-us+m3", 52, 4, 0),
        Speaker("3F", "en-us+f3", 50, -4, 6),
        Speaker("3M", "en-us+m4", 42, 0, -6),
        Speaker("4F", "en-us+f4", 44, 8, 4),
        Speaker("4M", "en-us+m7", 48, -8, 8),
        Speaker("5F", "en-us+f5", 55, -2, -4),
        Speaker("5M", "en-us+m8", 46, 6, 0),
    )
}

STATES: Final = {  # rate, volume, pitch above the speaker's own, range
    "neu": (170, 98, -1, 44),
    "sad": (130, 72, -13, 14),
    "fru": (180, 108, 0, 54),
    "hap": (180, 106, 3, 56),
    "sur": (226, 140, 20, 90),
    "ang": (226, 146, 14, 84),
    "exc": (228, 142, 18, 90),
}

SPREAD: Final = (11, 10, 6, 9)
"""Standard deviations of a turn around its class, in the same order."""

P_OTHER = 0.05
"""Share of turns that are acted as another class."""


def act(text: str, label: str, speaker: Speaker, chance: random.Random) -> Line:
    """How `speaker` says `text` in the state `label`; deterministic in `chance`."""
    if chance.random() < P_OTHER:
        label = chance.choice([other for other in CLASSES if other != label])
    rate, volume, pitch, span = (chance.gauss(mean, spread) for mean, spread in zip(STATES[label], SPREAD, strict=True))
    return Line(
        text=text,
        voice=speaker.voice,
        rate=_within(rate + speaker.rate, 90, 300),
        volume=_within(volume + speaker.volume, 40, 200),
        pitch=_within(pitch + speaker.pitch, 0, 99),
        range=_within(span, 0, 99),
    )


def _within(value: float, low: int, high: int) -> int:
    return round(min(max(value, low), high))
