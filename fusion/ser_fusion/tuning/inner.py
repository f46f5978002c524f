"""Inner folds: the outer training part cut by the groups that the protocol holds out. The test fold is not looked at."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_data.protocols.base import balanced_groups

if TYPE_CHECKING:
    from ser_fusion.study import Study

KEYS = ("session", "speaker", "scenario", "dialogue")
Rows = NDArray[np.int64]


def inner_folds(study: "Study", train: Rows, count: int) -> tuple[str, tuple[Rows, ...]]:
    """Parts of a training part, each held out once.

    Args:
        study: Whose groups.
        train: Rows of the outer training part.
        count: Most parts; there are no more than groups.

    Returns:
        The column whose values stay whole, and the rows of each part. It is the first of session, speaker, scenario and
        dialogue that the protocol holds out and that has two values or more in the training part; else speaker or dialogue;
        else single utterances (column ``id``).
    """
    table = study.table
    held = [key for key in KEYS if key in study.folds.held_out]
    for key in (*held, "speaker", "dialogue", "id"):
        if key not in table:
            continue
        column = pd.Series(table[key].to_numpy(dtype=object)[train])
        if column.notna().all() and column.nunique() > 1:
            break
    groups = balanced_groups(column, count)
    numbers = np.array([groups[value] for value in column])
    return key, tuple(train[numbers == number] for number in range(int(numbers.max()) + 1))
