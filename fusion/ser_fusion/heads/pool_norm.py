"""Pooled vectors to zero mean and unit deviation over the training utterances: batch normalisation without affine map.

Source: Ioffe & Szegedy, ICML 2015. Without it the classifier's input has features of very different size, and dropout of
half of them drowns the small ones: it learns on noise.

Two things differ from the usual layer. Utterances without a frame of the stream do not count, and their vector is 0 after
the norm, which is the mean of those that have some. And the moments of evaluation are not a running mean of past batches:
``settle_moments`` measures them over the training utterances with the weights that are kept (averaged ones, without dropout).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from ser_fusion.frames.feed import Feed

_BATCH = 64
_TINY = 1e-8  # a feature whose variance is below does not vary: it is 0 after the norm, whatever comes


class PoolNorm(nn.BatchNorm1d):
    """The norm of one stream's pooled vector.

    Args:
        width: Width of the vector.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=False)

    def forward(self, vectors: Tensor, heard: Tensor, all_heard: bool = False) -> Tensor:  # type: ignore[override]
        """The vectors normalised, (batch, width); zeros for an utterance without frames.

        In training by the moments of this batch; where fewer than two utterances are heard, as in evaluation.

        Args:
            vectors: (batch, width).
            heard: Whether the utterance has a frame of the stream, (batch,) bool.
            all_heard: Whether all are known to have one, so that nobody must wait for the device to count them.
        """
        if self.training and all_heard and len(vectors) > 1:
            return super().forward(vectors)
        if not self.training:
            return torch.where(heard.unsqueeze(1), self._by_moments(vectors), 0.0)
        present = heard.nonzero().squeeze(1)
        if len(present) < 2:
            return torch.where(heard.unsqueeze(1), self._by_moments(vectors), 0.0)
        if len(present) == len(vectors):
            return super().forward(vectors)
        return torch.zeros_like(vectors).index_copy(0, present, super().forward(vectors.index_select(0, present)))

    def _by_moments(self, vectors: Tensor) -> Tensor:
        assert self.running_mean is not None and self.running_var is not None
        return (vectors - self.running_mean) / (self.running_var + self.eps).sqrt()


@torch.no_grad()
def settle_moments(model: nn.Module, feed: "Feed", rows: NDArray[np.int64]) -> None:
    """Measures the moments of every norm of a model over these utterances; the model is in evaluation mode afterwards.

    A norm that hears fewer than two of them keeps what it has.

    Args:
        model: Does nothing if it has no ``PoolNorm``.
        feed: Where the frames come from.
        rows: Training utterances, rows of the study.
    """
    norms = [module for module in model.modules() if isinstance(module, PoolNorm)]
    if not norms:
        return
    model.eval()
    with _collected(norms) as seen:
        for _, batch in feed.by_length(rows, _BATCH):
            model(batch)
    for norm, parts in zip(norms, seen, strict=True):
        vectors = torch.cat(parts).double() if parts else torch.zeros(0)
        if len(vectors) < 2:
            continue
        variance, mean = torch.var_mean(vectors, 0, correction=0)
        norm.running_mean.copy_(mean)  # type: ignore[union-attr]
        norm.running_var.copy_(torch.where(variance > _TINY, variance, torch.inf))  # type: ignore[union-attr]


@contextmanager
def _collected(norms: list[PoolNorm]) -> Iterator[list[list[Tensor]]]:
    """Within the block, each list fills with the vectors that come to a norm from utterances that are heard."""
    seen: list[list[Tensor]] = [[] for _ in norms]

    def keeps(parts: list[Tensor]) -> Any:
        return lambda _, inputs: parts.append(inputs[0][inputs[1]].cpu())

    hooks = [norm.register_forward_pre_hook(keeps(parts)) for norm, parts in zip(norms, seen, strict=True)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
