"""CCC, Pearson's r and mean absolute error of predicted ratings: per fold, averaged over seeds first, then over folds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


# The concordance correlation coefficient: how well predictions equal ratings, not only how well they go along with them.
#
# ``CCC = 2 cov(p, r) / (var p + var r + (mean p - mean r)^2)``, all with ddof 0; 1 only where all are equal, 0 for a constant.
#
# Source: Lin, Biometrics 1989; as a loss ``1 - CCC`` over the batch: Trigeorgis et al., ICASSP 2016.
_TINY = 1e-8


def ccc(predicted: NDArray[np.floating], ratings: NDArray[np.floating]) -> float:
    """CCC of two (n,) arrays, in [-1, 1]; 0 where both are constant and differ, NaN where nothing is given."""
    if not len(ratings):
        return float("nan")
    p, r = np.asarray(predicted, dtype=np.float64), np.asarray(ratings, dtype=np.float64)
    shared = ((p - p.mean()) * (r - r.mean())).mean()
    spread = p.var() + r.var() + (p.mean() - r.mean()) ** 2
    return float(2 * shared / spread) if spread > 0 else 1.0


def ccc_loss(predicted: "Tensor", ratings: "Tensor") -> "Tensor":
    """``1 - CCC`` over the batch, averaged over the dimensions that have two ratings or more.

    Args:
        predicted: (batch, dimensions).
        ratings: The same shape; NaN where there is no rating.
    """
    import torch

    losses = []
    for p, r in zip(predicted.unbind(1), ratings.unbind(1), strict=True):
        rated = ~torch.isnan(r)
        if int(rated.sum()) > 1:
            p, r = p[rated], r[rated]
            shared = ((p - p.mean()) * (r - r.mean())).mean()
            spread = p.var(correction=0) + r.var(correction=0) + (p.mean() - r.mean()).square()
            losses.append(1 - 2 * shared / (spread + _TINY))
    return torch.stack(losses).mean() if losses else predicted.sum() * 0.0


METRICS = ("CCC", "r", "MAE")
DEFINITIONS = {
    "CCC": "concordance correlation coefficient (Lin 1989), the primary one: 1 only where all predictions equal the ratings",
    "r": "Pearson's correlation: blind to scale and offset; 0 for constant predictions",
    "MAE": "mean absolute error on the corpus's rating scale; smaller is better",
}


def score_ratings(predicted: np.ndarray, ratings: np.ndarray) -> dict[str, float]:
    """The three scores of one scored set, (n,) each, without NaN; NaN where nothing was scored."""
    if not len(ratings):
        return dict.fromkeys(METRICS, float("nan"))
    p, r = np.asarray(predicted, dtype=np.float64), np.asarray(ratings, dtype=np.float64)
    flat = p.std() < 1e-9 or r.std() < 1e-9
    return {
        "CCC": ccc(p, r),
        "r": 0.0 if flat else float(np.corrcoef(p, r)[0, 1]),
        "MAE": float(np.abs(p - r).mean()),
    }


def summarise_ratings(frame: "pd.DataFrame", dimensions: Sequence[str]) -> dict[str, Any]:
    """Headline numbers of one row of the table.

    Args:
        frame: The row's test predictions, columns of ``long_frame``.
        dimensions: Names of the ratings.

    Returns:
        Per dimension and for their ``mean``: per metric ``mean`` and ``std_folds`` (ddof 1, None with one fold); ``folds``:
        per fold the scores averaged over seeds.
    """
    folds: dict[str, dict[str, dict[str, float]]] = {}
    for fold, part in frame.groupby("fold", sort=True):
        folds[str(fold)] = {}
        for number, name in enumerate(dimensions):
            rated = part[part[f"r{number}"].notna()]
            pairs = [turns[[f"p{number}", f"r{number}"]].to_numpy() for _, turns in rated.groupby("seed")]
            seeds = [score_ratings(*pair.T) for pair in pairs]
            folds[str(fold)][name] = {m: float(np.mean([each[m] for each in seeds])) for m in METRICS} if seeds else {}
        valid = [scores for scores in folds[str(fold)].values() if scores]
        folds[str(fold)]["mean"] = {m: float(np.mean([each[m] for each in valid])) for m in METRICS} if valid else {}
    summary: dict[str, Any] = {"folds": folds}
    for name in (*dimensions, "mean"):
        table = [scores[name] for scores in folds.values() if scores[name]]
        summary[name] = {}
        for metric in METRICS:
            values = np.array([each[metric] for each in table])
            deviation = float(values.std(ddof=1)) if len(values) > 1 else None
            summary[name][metric] = {"mean": float(values.mean()) if len(values) else None, "std_folds": deviation}
    return summary


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
