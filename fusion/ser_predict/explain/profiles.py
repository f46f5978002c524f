"""Averages over a run's tested utterances by class: which streams, words and moments speak for a class, beside the control."""

import string
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_predict.explain.explanation import Explainer, Shares
from ser_predict.explain.tracks import SPECIAL, Track

TENTHS = 10
"""Parts of an utterance that moments are averaged in."""
RARE = 3
"""A word in fewer utterances of its class is left out."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean contribution over utterances.

    Attributes:
        value: Mean contribution to the score of the class.
        error: Standard error of the mean; None of one utterance.
        control: The mean by heads that learned shuffled labels; None without a control.
        count: Number of utterances.
    """

    value: float
    error: float | None
    control: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Profile:
    """What speaks for a class in the utterances that carry it.

    Attributes:
        label: The class.
        shares: Stream -> mean share; beside them ``interaction``, which lies within the shares.
        words: Word -> mean contribution, the largest first.
        moments: Stream -> mean contribution of each tenth of an utterance.
    """

    label: str
    shares: dict[str, Mean]
    words: dict[str, Mean]
    moments: dict[str, list[Mean]]


def profiles(explainer: Explainer, most: int) -> Iterator[Profile]:
    """Yields the profile of each class.

    Args:
        explainer: The explainer of a run's row.
        most: Utterances of a class at most, spread evenly from the hardest to the most typical.
    """
    for label, tested in explainer.belief.groupby("label", sort=False):
        shares, words, moments = defaultdict(list), defaultdict(list), defaultdict(list)
        for place in np.unique(np.linspace(0, len(tested) - 1, most).round().astype(int)):
            explanation = explainer.explain(str(tested.index[place]), str(label))
            blind = explanation.control or Shares(np.nan, dict.fromkeys(explanation.shares.streams, np.nan), np.nan)
            for stream, value in explanation.shares.streams.items():
                shares[stream].append((value, blind.streams[stream]))
            shares["interaction"].append((explanation.shares.interaction, blind.interaction))
            for track in explanation.tracks:
                if track.of_words:
                    for word, pair in _word_sums(track).items():
                        words[word].append(pair)
                elif len(track.names) > 1:
                    moments[track.stream].append(_tenths(track))
        frequent = {word: _mean(pairs) for word, pairs in words.items() if len(pairs) >= RARE}
        yield Profile(
            str(label),
            {stream: _mean(pairs) for stream, pairs in shares.items()},
            dict(sorted(frequent.items(), key=lambda item: -abs(item[1].value))),
            {stream: [_mean(part) for part in np.swapaxes(rows, 0, 1)] for stream, rows in moments.items()},
        )


def _pairs(track: Track) -> NDArray[np.float64]:
    """Stacks contributions and those of the control, (moments or words, 2)."""
    return np.stack([track.values, track.control or np.full(len(track.values), np.nan)], axis=1)


def _word_sums(track: Track) -> dict[str, NDArray[np.float64]]:
    """Adds up what each word of an utterance contributes; words are without punctuation."""
    sums: dict[str, NDArray[np.float64]] = {}
    for name, pair in zip(map(str, track.names), _pairs(track), strict=True):
        word = name.strip(string.punctuation).casefold()
        if word and name != SPECIAL:
            sums[word] = sums.get(word, np.zeros(2)) + pair
    return sums


def _tenths(track: Track) -> NDArray[np.float64]:
    """Adds up the contributions within each tenth of the utterance, (tenths, 2); a frame counts where it lies, in parts."""
    edges = np.linspace(0, len(track.values), TENTHS + 1)
    along = np.concatenate([np.zeros((1, 2)), np.cumsum(_pairs(track), axis=0)])
    whole = np.arange(len(along))
    return np.diff(np.stack([np.interp(edges, whole, column) for column in along.T], axis=1), axis=0)


def _mean(pairs: Sequence[Any] | NDArray[np.float64]) -> Mean:
    values = np.asarray(pairs, dtype=np.float64)
    mean, control = values.mean(axis=0).tolist()
    error = float(values[:, 0].std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return Mean(mean, error, None if np.isnan(control) else control, len(values))
