"""What one training minimises, from a job's levers: the loss of every expert, and what is added to it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ser_fusion.evaluation.ccc import ccc_loss
from ser_fusion.frames.batches import Batch
from ser_fusion.heads.model import Model
from ser_fusion.heads.tap import tapped
from ser_fusion.training.losses import LOSSES
from ser_fusion.training.losses.base import distribution
from ser_fusion.training.losses.contrastive import contrastive, pair_weights
from ser_fusion.training.losses.levers import PLAIN, Levers
from ser_fusion.training.losses.mixup import Mix, draw_mix

_STREAM = 977  # own random numbers, so that a lever leaves the order of utterances and the initial weights as they were


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of every utterance.

    Attributes:
        classes: Class numbers, (utterances,) int64; -1 for an utterance without a class.
        votes: Class distributions, (utterances, classes) float32, where targets are votes.
        ratings: Valence, arousal, dominance, (utterances, dimensions) float32, NaN where there is none.
    """

    classes: Tensor
    votes: Tensor | None = None
    ratings: Tensor | None = None

    @property
    def dimensions(self) -> int:
        """How many ratings an utterance has."""
        return 0 if self.ratings is None else self.ratings.shape[1]


class Objective:
    """The sum over a batch that training minimises.

    Args:
        levers: What differs from plain cross-entropy.
        truth: What is known of every utterance.
        rows: Training utterances.
        classes: Number of classes.
        seed: Of the training.
        device: Where batches are.
        balanced: ``--class-weights balanced``.

    Attributes:
        weight: Weight of each class, (classes,), or None.
        prior: Class distribution that the trained model's posteriors answer to, (classes,); None for that of the targets.
    """

    def __init__(
        self,
        levers: Levers,
        truth: Truth,
        rows: NDArray[np.int64],
        classes: int,
        *,
        seed: tuple[int, int],
        device: torch.device,
        balanced: bool = False,
    ) -> None:
        self.levers, self.classes, self.device = levers, classes, device
        self.ratings = truth.ratings
        self.targets, self.votes = truth.classes, truth.votes if levers.votes else None
        own, votes = self.targets[rows], self.votes
        counts = torch.bincount(own[own >= 0], minlength=classes).float() if votes is None else votes[rows].sum(0)
        self.weight = _inverse(counts).to(device) if balanced else None
        self.loss = LOSSES[levers.loss](counts.to(device), self.weight, levers.strength)
        shown = (1 - levers.smoothing) * counts + levers.smoothing * counts.sum() / classes
        plain = levers.loss == "cross-entropy" and not levers.smoothing and votes is None and not balanced
        self.prior = None if plain else self.loss.prior(shown.to(device)).cpu()
        self.simple = levers == PLAIN
        self.draw = np.random.default_rng([*seed, _STREAM])
        self.log_weight = pair_weights(levers.pairs, levers.pair_weight, classes).to(device) if levers.pairs else None

    def __call__(self, model: Model, batch: Batch, rows: NDArray[np.int64]) -> Tensor:
        """Sum over the utterances of one batch."""
        numbers = self.targets[rows].to(self.device)
        if self.simple:
            return model.loss(batch, numbers, self.weight)
        mix = draw_mix(self.draw, len(rows), self.levers.mixup, self.device) if self.levers.mixup else None
        with tapped(model.head, mix) as vectors:
            logits = model.expert_logits(batch)
        parts = []
        if self.levers.task == "emotion":
            wanted = self._wanted(rows, numbers, mix)
            parts.append(torch.stack([self.loss(one, wanted) for one in logits]).sum())
        if self.levers.contrastive:
            each = [contrastive(one, numbers, self.log_weight) for one in vectors]
            parts.append(self.levers.contrastive * torch.stack(each).sum())
        if self.levers.rates:
            parts.append((self.levers.vad_weight or 1.0) * len(rows) * self._rated(model, vectors, rows, mix))
        return torch.stack(parts).sum()

    def _rated(self, model: Model, vectors: list[Tensor], rows: NDArray[np.int64], mix: Mix | None) -> Tensor:
        """``1 - CCC`` of every expert, summed, in units of the training deviation."""
        assert model.raters is not None and self.ratings is not None
        ratings = (self.ratings[rows].to(self.device) - model.raters.mean) / model.raters.scale
        if mix is not None:
            vectors, ratings = [mix(one) for one in vectors], mix(ratings)
        return torch.stack([ccc_loss(one, ratings) for one in model.raters(vectors)]).sum()

    def _wanted(self, rows: NDArray[np.int64], numbers: Tensor, mix: Mix | None) -> Tensor:
        """Class numbers, or distributions where smoothing, votes or mixup make them so."""
        levers = self.levers
        if self.votes is None and not levers.smoothing and mix is None:
            return numbers
        wanted = distribution(numbers, self.classes) if self.votes is None else self.votes[rows].to(self.device)
        if levers.smoothing:
            wanted = (1 - levers.smoothing) * wanted + levers.smoothing / self.classes
        return wanted if mix is None else mix(wanted)


def _inverse(counts: Tensor) -> Tensor:
    """Weights N / (classes n_c): those of ``--class-weights balanced``."""
    known = counts.clamp(min=1)
    return float(counts.sum()) / (len(counts) * known)
