"""Predicted ratings as a table: what a run directory keeps of ratings."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ser_fusion.runs.task import Task


def rating_frame(
    task: "Task",
    rows: NDArray[np.int64],
    predicted: NDArray[np.float32],
    ratings: NDArray[np.float32] | None,
    ids: "Sequence[str]",
) -> "pd.DataFrame":
    """Ratings given and predicted, in long form; see ``long_frame``."""
    assert ratings is not None
    names = np.array([ids[row] for row in rows], dtype=object)
    return long_frame(task.row.slug, names, task.fold_name, task.seed, predicted, ratings[rows])


def long_frame(
    row: str,
    ids: NDArray[np.object_],
    fold: str,
    seed: int,
    predicted: NDArray[np.float32],
    ratings: NDArray[np.float32],
) -> "pd.DataFrame":
    """Columns row, id, fold, seed, and for each dimension by number its rating and prediction: ``r0, p0, r1, ...``."""
    import pandas as pd

    columns: dict[str, Any] = {"row": row, "id": ids, "fold": fold, "seed": np.int64(seed)}
    for number in range(ratings.shape[1]):
        columns[f"r{number}"] = ratings[:, number]
        columns[f"p{number}"] = predicted[:, number]
    return pd.DataFrame(columns, index=range(len(ids)))
