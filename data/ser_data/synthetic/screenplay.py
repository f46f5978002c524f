"""What the demo corpus says and how it is acted.

Speakers of the demo corpus and how they speak in each state: rate, volume, pitch and range for espeak-ng.

The voice shows arousal better than the class within it: anger and excitement sound alike, and so do frustration,
happiness and surprise. Every turn deviates from its class, some turns are acted as another class.

Who says what, where and in which state: the demo corpus before anybody speaks. Pure, and the same on every machine.

The shape is IEMOCAP's: five sessions of two speakers, each scenario played twice per session (once per wearer of the
markers, which the id names first), improvised and scripted, seven classes with its imbalance per session, a scenario that
tells part of the label, scripts whose lines come back in other sessions, states that last over turns, three raters who do
not always agree. The published class counts are scaled down; no line of IEMOCAP is used.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ser_data.synthetic.allocation import BY_SCENARIO, BY_SESSION, NEAR
from ser_data.synthetic.allocation import CLASSES as _ORDER
from ser_data.synthetic.espeak import Line
from ser_data.synthetic.sentences import CLASSES, words


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


SCALE = 0.0935
"""Turns of the demo per turn of IEMOCAP's seven classes: 7,487 become about 700."""

COUNTS: Final = {str(session): {label: BY_SESSION[label][session - 1] for label in _ORDER} for session in range(1, 6)}
"""Turns per session and class in IEMOCAP."""

SCENARIOS: Final = (
    "impro01", "impro03", "impro04", "impro05", "impro06", "script01_1", "script01_3", "script02_2", "script03_2",
)  # fmt: skip

LEAST: Final = {"sur": 3}
"""A scenario's weight for a class is its turns in IEMOCAP, but at least 3 for surprise and 5 for the others."""

TAKES: Final = {("3", "impro05", "M"): ("a", "b"), ("5", "script01_1", "M"): ("", "b")}
"""Dialogues with a second take, whose suffix breaks careless parsers."""

P_DISSENT = 0.35
"""Share of turns on which one of the three raters dissents."""

AFFECT: Final = {  # valence, arousal, dominance on IEMOCAP's scale of 1 to 5
    "neu": (3.0, 2.7, 3.0), "sad": (2.2, 2.2, 2.6), "fru": (2.2, 3.1, 3.2), "hap": (4.0, 3.2, 3.1),
    "sur": (3.1, 3.5, 2.9), "ang": (1.8, 3.8, 3.8), "exc": (4.1, 3.8, 3.4),
}  # fmt: skip

P_SCRIPT = 0.6
"""Share of scripted turns whose words are the script's, the same in every session."""

P_STAY = 0.6
"""Chance that the next turn of a dialogue has the label of the one before, while any such turn is left."""


@dataclass(frozen=True)
class Turn:
    """One utterance to be spoken.

    Attributes:
        id: In IEMOCAP's grammar, e.g. `Ses01F_impro01_M003`: wearer F, speaker M.
        dialogue: `Ses01F_impro01`.
        session: `1` to `5`.
        scenario: Without take, e.g. `impro05`.
        wearer: `F` or `M`.
        speaker: A key of `SPEAKERS`.
        position: In the dialogue, from 0.
        label: The majority's.
        votes: Three raters' labels.
        affect: Two raters' (valence, arousal, dominance), whole numbers of 1 to 5.
        line: Words, voice and manner.
    """

    id: str
    dialogue: str
    session: str
    scenario: str
    wearer: str
    speaker: str
    position: int
    label: str
    votes: tuple[str, str, str]
    affect: tuple[tuple[int, int, int], ...]
    line: Line

    @property
    def scripted(self) -> bool:
        return self.scenario.startswith("script")


def screenplay(share: float = 1.0) -> tuple[Turn, ...]:
    """All turns, by session, dialogue and time.

    Args:
        share: Part of the corpus, 0 to 1; at least one turn per session and class.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share {share} is not within 0 to 1")
    return tuple(turn for session in COUNTS for turn in _session(session, share))


def _session(session: str, share: float) -> Iterator[Turn]:
    chance = random.Random(f"ser-fusion demo session {session}")
    scenes: dict[str, list[str]] = {}
    for label, count in COUNTS[session].items():
        column = _ORDER.index(label)
        weights = [max(BY_SCENARIO[name][column], LEAST.get(label, 5)) for name in SCENARIOS]
        for _ in range(max(1, round(count * SCALE * share + 0.2))):
            scenario = chance.choices(SCENARIOS, weights)[0]
            wearer = chance.choice("FM")
            take = chance.choice(TAKES.get((session, scenario, wearer), ("",)))
            scenes.setdefault(f"Ses0{session}{wearer}_{scenario}{take}", []).append(label)
    for dialogue in sorted(scenes):
        yield from _scene(session, dialogue, scenes[dialogue], chance)


def _scene(session: str, dialogue: str, labels: list[str], chance: random.Random) -> Iterator[Turn]:
    wearer, played = dialogue[5], dialogue[7:]
    scenario = played.rstrip("ab")
    gender = chance.choice("FM")
    said: Counter[str] = Counter()
    left, label = labels, ""
    for position in range(len(labels)):
        label = label if label in left and chance.random() < P_STAY else chance.choice(left)
        left = list(left)
        left.remove(label)
        if chance.random() < 0.7:
            gender = "M" if gender == "F" else "F"
        script = chance
        if scenario.startswith("script") and chance.random() < P_SCRIPT:
            script = random.Random(f"{scenario} {label} {said[label] % 6}")
        said[label] += 1
        said[gender] += 1
        yield Turn(
            id=f"{dialogue}_{gender}{said[gender] - 1:03d}",
            dialogue=dialogue,
            session=session,
            scenario=scenario,
            wearer=wearer,
            speaker=session + gender,
            position=position,
            label=label,
            votes=_votes(label, chance),
            affect=tuple(_affect(label, chance) for _ in range(2)),
            line=act(words(label, script), label, SPEAKERS[session + gender], chance),
        )


def _votes(label: str, chance: random.Random) -> tuple[str, str, str]:
    votes = [label] * 3
    if chance.random() < P_DISSENT:
        others = [other for other in CLASSES if other != label]
        votes[chance.randrange(3)] = NEAR[label] if chance.random() < 0.7 else chance.choice(others)
    return votes[0], votes[1], votes[2]


def _affect(label: str, chance: random.Random) -> tuple[int, int, int]:
    valence, arousal, dominance = (min(5, max(1, round(chance.gauss(mean, 0.5)))) for mean in AFFECT[label])
    return valence, arousal, dominance
