"""Ratings from a head's pooled vectors: one linear layer per classifier, their mean where a head has several experts."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ser_fusion.evaluation.rating_metrics import ccc
from ser_fusion.frames.feed import Feed
from ser_fusion.heads.base import Head, tapped, widths

EVALUATION_BATCH = 64


class Raters(nn.Module):
    """Linear outputs on the pooled vectors of a head, and the scale of the corpus's ratings.

    Args:
        head: Whose vectors.
        dimensions: How many ratings.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, head: Head, dimensions: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, dimensions) for width in widths(head))
        self.register_buffer("mean", torch.zeros(dimensions))
        self.register_buffer("scale", torch.ones(dimensions))

    def fit_scale(self, ratings: Tensor) -> None:
        """Mean and deviation of the training ratings (utterances, dimensions), NaN where there is none."""
        values = ratings.double().numpy()
        deviation = np.nanstd(values, axis=0)
        self.mean.copy_(torch.from_numpy(np.nan_to_num(np.nanmean(values, axis=0))))
        self.scale.copy_(torch.from_numpy(np.where(deviation > 0, deviation, 1.0)))

    def forward(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Ratings by each expert in units of the training deviation, (batch, dimensions)."""
        return [layer(vector) for layer, vector in zip(self.layers, vectors, strict=True)]

    def rate(self, vectors: Sequence[Tensor]) -> Tensor:
        """Ratings on the corpus's scale, (batch, dimensions)."""
        return torch.stack(self(vectors)).mean(0) * self.scale + self.mean


@torch.inference_mode()
def rate(model: nn.Module, feed: Feed, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Predicted ratings of these utterances on the corpus's scale, (rows, dimensions), rows in the order given."""
    model.eval()
    raters: Raters = model.raters  # type: ignore[assignment]
    place = {int(row): number for number, row in enumerate(rows)}
    out = np.zeros((len(rows), len(raters.mean)), dtype=np.float32)
    for part, batch in feed.by_length(rows, EVALUATION_BATCH):
        with tapped(model.head) as vectors:  # type: ignore[arg-type]
            model.expert_logits(batch)  # type: ignore[operator]
        out[[place[int(row)] for row in part]] = raters.rate(vectors).cpu().numpy()
    return out


def scores(model: nn.Module, feed: Feed, rows: NDArray[np.int64], ratings: Tensor) -> dict[str, float]:
    """Mean CCC over the dimensions, and 1 - CCC as ``loss``."""
    predicted, truth = rate(model, feed, rows), ratings[rows].numpy()
    rated = np.isfinite(truth)
    each = [ccc(predicted[rated[:, d], d], truth[rated[:, d], d]) for d in range(truth.shape[1])]
    return {"loss": 1 - float(np.mean(each)), "ccc": float(np.mean(each))}
