"""What every table of ratings carries for free: the training mean, and a ridge regression on time means.

Untuned: the ridge's penalty is the number of training utterances times 0.1 on standardised features.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ser_fusion.evaluation.parts import parts_of
from ser_fusion.evaluation.probe_rows import Pooled
from ser_fusion.evaluation.probes import standardise
from ser_fusion.evaluation.rating_metrics import long_frame

if TYPE_CHECKING:
    from ser_fusion.study.open import Study

PENALTY = 0.1


def rating_references(
    study: "Study", ratings: np.ndarray, features: Pooled
) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Reference rows on the heads' own folds, as pairs of row information and test predictions.

    Args:
        study: Utterances and folds.
        ratings: (utterances, dimensions), NaN where there is none.
        features: ``ser_fusion.evaluation.references.stream_features(study)``.
    """
    ids = study.table.index.to_numpy()
    inputs: dict[str, np.ndarray | None] = {"mean": None}
    inputs |= {f"ridge-{name}": values for name, values in features["mean"].items()}
    if len(features["mean"]) > 1:
        inputs["ridge-concatenation"] = np.concatenate(list(features["mean"].values()), axis=1)
    rows = []
    for slug, values in inputs.items():
        frames = []
        for part in parts_of(study.table.index, study.folds.folds):
            predicted = np.stack([_predict(values, part, ratings[:, d]) for d in range(ratings.shape[1])], axis=1)
            frames.append(
                long_frame(slug, ids[part.test], part.name, 0, predicted.astype(np.float32), ratings[part.test])
            )
        name, _, stream = slug.partition("-")
        title = "Training mean" if name == "mean" else f"Ridge ({stream})"
        rows.append(({"name": title, "slug": slug, "kind": "reference", "note": _note(name)}, pd.concat(frames)))
    return rows


def _note(name: str) -> str:
    if name == "mean":
        return "the mean rating of the training part: CCC 0 by construction"
    return f"ridge regression on the time mean, penalty {PENALTY} per training utterance"


def _predict(values: np.ndarray | None, part: Any, ratings: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import Ridge

    train = part.train[np.isfinite(ratings[part.train])]
    if values is None or len(train) < 2:
        return np.full(len(part.test), ratings[train].mean() if len(train) else np.nan)
    x_train, x_test = standardise(values[train], values[part.test])
    return Ridge(alpha=PENALTY * len(train)).fit(x_train, ratings[train]).predict(x_test)
