"""What pooled UWA looks like when predictions know nothing: the true labels shuffled within folds, many times.

Within folds, because holding scenarios out turns the class frequencies of a fold against its training part: a majority
predictor then falls below 1/K, and the band moves with it. An utterance has one true label, so all seeds of a fold share
each shuffling: seeds that guess alike are not averaged into a band that is too narrow.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ser_fusion.evaluation.metrics import class_positions, scores_of


def label_permutation_band(
    predictions: pd.DataFrame, classes: Sequence[str], *, metric: str = "UWA", draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """The middle 95 % of the pooled score over shufflings of the true labels within folds, shared by the seeds.

    Args:
        predictions: `id, fold, seed, label, predicted` of one row.
        classes: class names in order.
        metric: which score.
        draws: shufflings.
        seed: of the shufflings.
    """
    guess = class_positions(predictions["predicted"], classes)
    rng, k = np.random.default_rng(seed), len(classes)
    counts = np.zeros((draws, k * k))
    shift = (np.arange(draws) * k * k)[:, None]
    for places in predictions.groupby("fold").indices.values():
        part = predictions.iloc[places]
        utterance, _ = pd.factorize(part["id"])
        true = class_positions(part.loc[~part["id"].duplicated(), "label"], classes)  # of each utterance once
        shuffled = rng.permuted(np.broadcast_to(true, (draws, len(true))), axis=1)
        for at in part.groupby("seed").indices.values():
            cells = (shuffled[:, utterance[at]] * k + guess[places][at] + shift).ravel()
            counts += np.bincount(cells, minlength=draws * k * k).reshape(draws, k * k)
    scores = scores_of(counts.reshape(draws, k, k))[metric]
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)
