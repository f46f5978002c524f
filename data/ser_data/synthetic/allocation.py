"""Which turns the synthetic corpus has, and when they are spoken.

Lengths and times like IEMOCAP's: log-normal lengths from .585 to 34.14 s, 12.44 h in all, overlapping turns.

Published: mean 4.46 s, median 3.52, 95th percentile 10.53, two turns over 30 s; 89 % of turns overlap with the other
speaker's.

Who says how many turns of which class in which scene: IEMOCAP's published margins, met exactly.

The joint table is not published as a whole, so turns are dealt at random under the margins: class by session, class by
scenario, and class group by speaker. The validator has its own tables, typed from another view of the same facts.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

SHORTEST, LONGEST = 0.585, 34.14
HOURS, TURNS = 12.44, 10_039
_MEDIAN, _MEAN = 3.52, 4.46
_SIGMA = float(np.sqrt(2 * np.log(_MEAN / _MEDIAN)))


def durations(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """`count` lengths in seconds in random order: evenly spaced quantiles, so that every seed has the same distribution."""
    normal = NormalDist()
    quantiles = np.array([normal.inv_cdf((i + 0.5) / count) for i in range(count)])
    seconds = np.clip(_MEDIAN * np.exp(_SIGMA * quantiles), SHORTEST, 29.5)
    if count == TURNS:  # the clipped tail is missing from the sum; the middle makes up for it
        middle = (seconds > 1.0) & (seconds < 20.0)
        missing = HOURS * 3600 - (LONGEST + 31.2) - (seconds.sum() - seconds[-2:].sum())
        seconds[middle] *= 1.0 + missing / seconds[middle].sum()
    seconds[-1] = LONGEST
    if count > 1:
        seconds[-2] = 31.2 if count >= 1000 else seconds[-2]
        seconds[0] = SHORTEST
    return np.asarray(rng.permutation(seconds))


def timeline(lengths: list[float], speakers: list[str], rng: np.random.Generator) -> list[tuple[int, float, float]]:
    """Turns of one dialogue in time: `(index, start, end)` in seconds, to 0.1 ms.

    Speakers alternate while both have turns left; a turn mostly starts before the other speaker's has ended, never before
    the end of its own speaker's last one.
    """
    waiting = {letter: [i for i, who in enumerate(speakers) if who == letter] for letter in "FM"}
    for rows in waiting.values():
        rng.shuffle(rows)
    free = {"F": 0.0, "M": 0.0}
    last = float(rng.uniform(0.5, 8.0))
    turn = "F" if rng.random() < 0.5 else "M"
    placed: list[tuple[int, float, float]] = []
    while waiting["F"] or waiting["M"]:
        turn = turn if waiting[turn] else {"F": "M", "M": "F"}[turn]
        i = waiting[turn].pop()
        early = float(rng.uniform(0.02, 0.36)) * lengths[i] if rng.random() < 0.85 else -float(rng.exponential(0.8))
        start = round(max(free[turn] + 0.02, last - early, 0.3), 4)
        end = round(start + lengths[i], 4)
        placed.append((i, start, end))
        free[turn] = end
        last = max(last, end)
        turn = {"F": "M", "M": "F"}[turn]
    return placed


CLASSES = ("neu", "fru", "ang", "sad", "exc", "hap", "sur")
# Class -> turns in sessions 1 to 5
BY_SESSION = {
    "neu": (384, 362, 320, 258, 384),
    "fru": (280, 325, 382, 481, 381),
    "ang": (229, 137, 240, 327, 170),
    "sad": (194, 197, 305, 143, 245),
    "exc": (143, 210, 151, 238, 299),
    "hap": (135, 117, 135, 65, 143),
    "sur": (25, 17, 28, 19, 18),
    "fea": (12, 9, 2, 7, 10),
    "oth": (1, 1, 0, 1, 0),
    "dis": (1, 0, 1, 0, 0),
    "xxx": (415, 436, 572, 564, 520),
}
# Scenario -> turns of the seven classes in the order of CLASSES, then all turns
BY_SCENARIO = {
    "impro01": (54, 267, 72, 0, 0, 0, 1, 464),
    "impro02": (17, 141, 15, 239, 3, 3, 11, 558),
    "impro03": (60, 1, 0, 0, 246, 175, 15, 713),
    "impro04": (258, 221, 29, 24, 1, 1, 4, 610),
    "impro05": (259, 207, 141, 0, 1, 2, 8, 680),
    "impro06": (84, 0, 0, 345, 0, 2, 1, 447),
    "impro07": (95, 0, 0, 0, 409, 81, 14, 789),
    "impro08": (272, 134, 32, 0, 3, 20, 6, 523),
    "script01_1": (140, 285, 172, 85, 0, 0, 16, 981),
    "script01_2": (48, 122, 103, 11, 0, 0, 0, 373),
    "script01_3": (56, 5, 1, 221, 21, 123, 9, 733),
    "script02_1": (88, 121, 34, 7, 183, 7, 11, 646),
    "script02_2": (108, 254, 80, 144, 17, 83, 10, 925),
    "script03_1": (65, 0, 2, 8, 153, 91, 0, 686),
    "script03_2": (104, 91, 422, 0, 4, 7, 1, 911),
}
# Turns of the female speaker of sessions 1 to 5: all, seven classes, the four of SUPERB, surprise
FEMALE = ((873, 650, 528, 15), (859, 654, 481, 8), (1048, 736, 522, 15), (987, 727, 528, 11), (1033, 758, 590, 7))
WEARER_IS_NOT_SPEAKER = 4951
# (session, wearer, scenario) that was played in two takes -> their names
TAKES = {
    (3, "M", "impro05"): ("impro05a", "impro05b"),
    (3, "M", "impro08"): ("impro08a", "impro08b"),
    (5, "M", "script01_1"): ("script01_1", "script01_1b"),
}
# Class -> what a rater writes who does not hear it
NEAR = {
    "ang": "fru", "fru": "ang", "hap": "exc", "exc": "hap", "sad": "neu", "neu": "fru", "sur": "exc", "fea": "sur",
    "dis": "ang", "oth": "neu",
}  # fmt: skip
_FOUR = frozenset({"neu", "ang", "sad", "exc", "hap"})


@dataclass(slots=True)
class PlannedTurn:
    """A turn before it has words and a time."""

    session: int
    scenario: str
    dialogue: str
    speaker: str
    label: str


def _pair(labels_by_session: list[tuple[int, str]], scenarios: list[str], rng: np.random.Generator) -> list[str]:
    """A scenario for each (session, label), by dealing the scenarios out at random; `impro08` is not in session 1."""
    dealt = [scenarios[i] for i in rng.permutation(len(scenarios))]
    for i, (session, _) in enumerate(labels_by_session):
        while session == 1 and dealt[i] == "impro08":
            j = int(rng.integers(len(dealt)))
            if labels_by_session[j][0] != 1:
                dealt[i], dealt[j] = dealt[j], dealt[i]
    return dealt


def _scenes(rng: np.random.Generator) -> list[tuple[int, str, str]]:
    """`(session, label, scenario)` of all 10,039 turns."""
    scenes: list[tuple[int, str, str]] = []
    for column, label in enumerate(CLASSES):
        who = [(session, label) for session, count in enumerate(BY_SESSION[label], 1) for _ in range(count)]
        where = [name for name, counts in BY_SCENARIO.items() for _ in range(counts[column])]
        scenes += [(s, kind, name) for (s, kind), name in zip(who, _pair(who, where, rng), strict=True)]
    rest = [label for label in BY_SESSION if label not in CLASSES]
    who = [(s, label) for label in rest for s, count in enumerate(BY_SESSION[label], 1) for _ in range(count)]
    where = [name for name, counts in BY_SCENARIO.items() for _ in range(counts[-1] - sum(counts[:-1]))]
    return scenes + [(s, kind, name) for (s, kind), name in zip(who, _pair(who, where, rng), strict=True)]


def _speakers(scenes: list[tuple[int, str, str]], rng: np.random.Generator) -> list[str]:
    """`F` or `M` per turn, so that each speaker has the published number in every class group."""
    letters = ["M"] * len(scenes)
    for session, (everything, seven, four, surprise) in enumerate(FEMALE, 1):
        groups = {"four": four, "sur": surprise, "fru": seven - four - surprise, "rest": everything - seven}
        for group, count in groups.items():
            rows = [i for i, (s, label, _) in enumerate(scenes) if s == session and _group(label) == group]
            for i in rng.permutation(len(rows))[:count]:
                letters[rows[i]] = "F"
    return letters


def _group(label: str) -> str:
    return "four" if label in _FOUR else label if label in ("sur", "fru") else "rest"


def allocate(seed: int) -> list[PlannedTurn]:
    """All 10,039 turns with session, scenario, dialogue, speaker and label."""
    rng = np.random.default_rng(seed)
    scenes = _scenes(rng)
    letters = _speakers(scenes, rng)
    swapped = set(rng.permutation(len(scenes))[:WEARER_IS_NOT_SPEAKER].tolist())
    turns = []
    for i, ((session, label, scenario), speaker) in enumerate(zip(scenes, letters, strict=True)):
        wearer = {"F": "M", "M": "F"}[speaker] if i in swapped else speaker
        takes = TAKES.get((session, wearer, scenario), (scenario,))
        take = takes[int(rng.integers(len(takes)))]
        turns.append(PlannedTurn(session, scenario, f"Ses0{session}{wearer}_{take}", speaker, label))
    return turns


def thin_out(turns: list[PlannedTurn], count: int, seed: int) -> list[PlannedTurn]:
    """About `count` of the turns: every dialogue keeps one of each speaker, every label one at least.

    Args:
        turns: The full plan.
        count: At least 302 (151 dialogues, two speakers) are kept.
        seed: Of the choice.
    """
    rng = np.random.default_rng(seed + 1)
    order = [turns[i] for i in rng.permutation(len(turns))]
    kept: list[PlannedTurn] = []
    later: list[PlannedTurn] = []
    seen: set[tuple[str, str]] = set()
    for turn in order:
        keys = {(turn.dialogue, turn.speaker), ("label", turn.label)} - seen
        (kept if keys else later).append(turn)
        seen |= keys
    return kept + later[: max(0, count - len(kept))]
