"""Lengths and times like IEMOCAP's: log-normal lengths from .585 to 34.14 s, 12.44 h in all, overlapping turns.

Published: mean 4.46 s, median 3.52, 95th percentile 10.53, two turns over 30 s; 89 % of turns overlap with the other
speaker's.
"""

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
