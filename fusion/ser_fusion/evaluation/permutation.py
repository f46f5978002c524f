"""What pooled UWA looks like when predictions know nothing: the true labels shuffled within folds, many times.

Within folds, because holding scenarios out turns the class frequencies of a fold against its training part: a majority
predictor then falls below 1/K, and the band moves with it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ser_fusion.evaluation.metrics import class_positions, scores_of


def label_permutation_band(
    predictions: pd.DataFrame, classes: Sequence[str], *, metric: str = "UWA", draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """The middle 95 % of the pooled score over shufflings of the true labels within folds.

    Args:
        predictions: `id, fold, seed, label, predicted` of one row.
        classes: class names in order.
        metric: which score.
        draws: shufflings.
        seed: of the shufflings.
    """
    true = class_positions(predictions["label"], classes)
    guess = class_positions(predictions["predicted"], classes)
    rng, k = np.random.default_rng(seed), len(classes)
    counts = np.zeros((draws, k * k))
    shift = (np.arange(draws) * k * k)[:, None]
    for places in predictions.groupby(["fold", "seed"]).indices.values():
        shuffled = rng.permuted(np.broadcast_to(true[places], (draws, len(places))), axis=1)
        cells = (shuffled * k + guess[places] + shift).ravel()
        counts += np.bincount(cells, minlength=draws * k * k).reshape(draws, k * k)
    scores = scores_of(counts.reshape(draws, k, k))[metric]
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)
