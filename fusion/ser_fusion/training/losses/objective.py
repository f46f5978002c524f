"""What one training minimises, from a job's levers: the loss of every expert, and what is added to it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ser_fusion.evaluation.rating_metrics import ccc_loss
from ser_fusion.frames.batches import Batch
from ser_fusion.frames.device import sent
from ser_fusion.heads import HEADS
from ser_fusion.heads.base import Head, tapped
from ser_fusion.heads.model import Model
from ser_fusion.training.losses import LOSSES
from ser_fusion.training.losses.base import distribution
from ser_fusion.training.losses.levers import PLAIN, LeverImpossible, LeverOptions, Levers, levers_of


# Mixup of pooled vectors: ``v = lambda v_i + (1 - lambda) v_j``, ``q`` likewise, ``lambda`` ~ Beta(alpha, alpha), one per batch.
#
# Source: Zhang, Cisse, Dauphin & Lopez-Paz, ICLR 2018; at a hidden layer: Verma et al., ICML 2019 (manifold mixup).
#
# At the pooled vector, not at the frames: two utterances have different lengths and no frames that correspond, so a sum of their
# frames is a sum of two unrelated moments, and attention would look across two speakers at once. The pooled vector is the
# first place where both have one row of the same meaning. Behind it every head is linear (see docs/reference/heads.md), so mixing vectors
# mixes logits: a straight line of confidence between any two training utterances, dropout masks aside.
@dataclass(frozen=True, slots=True)
class Mix:
    """How one batch is mixed.

    Attributes:
        share: ``lambda``, of the utterance itself, in [0, 1].
        partner: With whom each utterance is mixed, (batch,) int64.
    """

    share: float
    partner: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Rows mixed with their partners' rows."""
        return self.share * values + (1 - self.share) * values[self.partner]


def draw_mix(draw: np.random.Generator, size: int, alpha: float, device: torch.device) -> Mix:
    """A mix for a batch of this size."""
    partner = sent(draw.permutation(size), device)
    return Mix(float(draw.beta(alpha, alpha)), partner)


# Supervised contrastive loss on pooled vectors, in which confused classes push each other away harder.
#
# Source: Khosla et al., NeurIPS 2020, eq. 2 (``L_out``), one view per utterance. For an anchor ``i`` with the other utterances of
# its class in the batch ``P(i)`` and unit vectors ``z``::
#
#     L_i = - 1/|P(i)| sum_{p in P(i)} log( exp(z_i z_p / t) / sum_{a != i} v(y_i, y_a) exp(z_i z_a / t) )
#
# ``v`` is 1; between the two classes of a declared pair (angry and frustrated, happy and excited) it is ``--pair-weight``, so that
# ``v`` = 1 is the paper's loss. Pair-aware weights are this project's; close relatives: Robinson et al., ICLR 2021 (hard
# negatives), and MultiEMO (Shi & Huang, ACL 2023). No projection network: the loss shapes the very vector that is classified.
TEMPERATURE = 0.1


def contrastive(
    vectors: Tensor, targets: Tensor, log_weight: Tensor | None = None, temperature: float = TEMPERATURE
) -> Tensor:
    """Sum over the anchors that have another utterance of their class in the batch.

    Args:
        vectors: Pooled vectors, (batch, width).
        targets: Class numbers, (batch,) int64; utterances with -1 (no class) are neither anchor nor partner nor negative.
        log_weight: Logarithm of ``v``, (classes, classes); None for the paper's loss.
        temperature: Khosla's 0.1.
    """
    labelled = targets >= 0
    z, y = torch.nn.functional.normalize(vectors[labelled], dim=1), targets[labelled]
    others = ~torch.eye(len(y), dtype=torch.bool, device=y.device)
    partners = (y[:, None] == y[None, :]) & others
    if not bool(partners.any()):
        return vectors.sum() * 0.0
    similar = z @ z.T / temperature
    weighed = similar if log_weight is None else similar + log_weight[y[:, None], y[None, :]]
    normaliser = weighed.masked_fill(~others, -torch.inf).logsumexp(1, keepdim=True)
    count = partners.sum(1)
    each = ((similar - normaliser) * partners).sum(1)[count > 0] / count[count > 0]
    return -each.sum()


def pair_weights(pairs: Sequence[tuple[int, int]], weight: float, classes: int) -> Tensor:
    """Logarithm of the weights of negatives, (classes, classes): ``log weight`` between the classes of a pair, else 0."""
    out = torch.zeros(classes, classes)
    for a, b in pairs:
        out[a, b] = out[b, a] = float(torch.tensor(weight).log())
    return out


_STREAM = 977  # own random numbers, so that a lever leaves the order of utterances and the initial weights as they were


@dataclass(frozen=True, slots=True)
class Truth:
    """The labels, votes and ratings of every utterance.

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
        numbers = sent(self.targets[rows], self.device)
        if self.simple:
            return model.loss(batch, numbers, self.weight)
        mix = draw_mix(self.draw, len(rows), self.levers.mixup, self.device) if self.levers.mixup else None
        with tapped(model.head, mix) as vectors:
            logits = model.expert_logits(batch)
        parts = []
        if self.levers.task == "emotion":
            wanted = self._wanted(rows, numbers, mix)
            parts.append(torch.stack([self.loss(expert, wanted) for expert in logits]).sum())
        if self.levers.contrastive:
            each = [contrastive(expert, numbers, self.log_weight) for expert in vectors]
            parts.append(self.levers.contrastive * torch.stack(each).sum())
        if self.levers.rates:
            parts.append((self.levers.vad_weight or 1.0) * len(rows) * self._rated(model, vectors, rows, mix))
        return torch.stack(parts).sum()

    def _rated(self, model: Model, vectors: list[Tensor], rows: NDArray[np.int64], mix: Mix | None) -> Tensor:
        """``1 - CCC`` of every expert, summed, in units of the training deviation."""
        assert model.raters is not None and self.ratings is not None
        ratings = (sent(self.ratings[rows], self.device) - model.raters.mean) / model.raters.scale
        if mix is not None:
            vectors, ratings = [mix(expert) for expert in vectors], mix(ratings)
        return torch.stack([ccc_loss(expert, ratings) for expert in model.raters(vectors)]).sum()

    def _wanted(self, rows: NDArray[np.int64], numbers: Tensor, mix: Mix | None) -> Tensor:
        """Class numbers, or distributions where smoothing, votes or mixup make them so."""
        levers = self.levers
        if self.votes is None and not levers.smoothing and mix is None:
            return numbers
        wanted = distribution(numbers, self.classes) if self.votes is None else sent(self.votes[rows], self.device)
        if levers.smoothing:
            wanted = (1 - levers.smoothing) * wanted + levers.smoothing / self.classes
        return wanted if mix is None else mix(wanted)


def _inverse(counts: Tensor) -> Tensor:
    """Weights N / (classes n_c): those of ``--class-weights balanced``."""
    divisors = counts.clamp(min=1)
    return float(counts.sum()) / (len(counts) * divisors)


_REMEDY = "Leave the option out, or choose other heads with --fusion."


def check_heads(
    job: LeverOptions, names: Iterable[str], classes: tuple[str, ...], table: Mapping[str, type[Head]] = HEADS
) -> None:
    """Refuses options that would not have an effect, or not the intended one, before any training.

    Args:
        job: The options.
        names: Heads of the job's rows.
        classes: Class names of the study.
        table: Heads by name.

    Raises:
        LeverImpossible: A head has a loss of its own, or none of the heads can lose a stream.
    """
    levers, heads = levers_of(job, classes), dict.fromkeys(names)
    for name in heads:
        if levers != PLAIN and table[name].loss is not Head.loss:
            raise LeverImpossible("Another loss", f"the head {name!r} has its own (it overrides Head.loss)", _REMEDY)
    if job.stream_dropout and heads and not any(table[name].drops_streams for name in heads):
        problem = f"of the heads {', '.join(heads)} none pools several streams for one classifier"
        raise LeverImpossible("--stream-dropout", problem, _REMEDY)
