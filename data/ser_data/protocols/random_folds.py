"""`random`: five folds drawn per utterance, stratified by label. For comparison with papers that did so, and a warning.

Speakers, dialogues and scripts are on both sides: on IEMOCAP a bag of words gains 4.0 points WA (7 classes) and 4.7
(4 classes) over session folds by it alone.
"""

from typing import TYPE_CHECKING

import numpy as np

from ser_data.protocols.base import Draft, Protocol
from ser_data.protocols.originals import firsts

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 5
WARNING = (
    "random folds put the same speakers, dialogues and scripts on both sides: on IEMOCAP that alone is worth +4.0 points WA "
    "(7 classes; +4.7 with 4) to a bag of words over session folds. Do not compare with speaker-independent results"
)


def _draft(table: "pd.DataFrame", seed: int) -> tuple[list[Draft], list[str]]:
    rng = np.random.default_rng(seed)
    heads, place = firsts(table, np.arange(len(table)))  # versions of one utterance are dealt together
    labels = table["label"].fillna("").to_numpy()[heads]
    fold = np.empty(len(heads), dtype=np.int64)
    dealt = 0
    for label in sorted(set(labels)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        fold[rows] = (dealt + np.arange(len(rows))) % FOLDS  # goes on where the last class ended: folds of equal size
        dealt += len(rows)
    tests = [fold[place] == number for number in range(min(FOLDS, len(heads)))]
    return [
        Draft(name=str(i + 1), test=test, pool=~test, dev=tests[(i + 1) % len(tests)] & ~test)
        for i, test in enumerate(tests)
    ], [WARNING]


RANDOM = Protocol(
    name="random",
    title="five random folds of utterances (leaks speakers and scripts; warned)",
    needs=(),
    held_out=(),
    dev="next",
    draft=_draft,
)
