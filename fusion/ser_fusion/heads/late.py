"""``late`` and ``late-average``: one single-stream head each, trained apart; only their posteriors meet.

``late``          product of experts: ``log p = sum_s log p_s - (S - 1) log prior``; the best rule where the streams are
                  independent given the emotion.
``late-average``  the mean of the posteriors; more robust when one stream is overconfident.

Source: Kittler et al., PAMI 1998 (product and sum rules). Each stream has its own cross-entropy, so no stream can lean on
another in training. Additive in the streams: sees no interaction.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ser_fusion.batches import Batch
from ser_fusion.heads.base import Head
from ser_fusion.heads.shape import Shape
from ser_fusion.heads.single import SingleHead


class LateHead(Head):
    """Product of the streams' posteriors, divided by the prior."""

    log_prior: Tensor

    def __init__(self, dims: Mapping[str, int], classes: int, shape: Shape) -> None:
        super().__init__(dims, classes, shape)
        self.experts = nn.ModuleDict({s: SingleHead({s: d}, classes, shape) for s, d in dims.items()})
        self.register_buffer("log_prior", torch.zeros(classes))

    def prepare(self, targets: Tensor) -> None:
        """Takes the class prior from the training targets."""
        counts = torch.bincount(targets, minlength=self.classes).to(self.log_prior)
        self.log_prior.copy_((counts / counts.sum()).clamp(min=1e-6).log())

    def logits(self, batch: Batch) -> list[Tensor]:
        """Each expert's own logits."""
        return [expert(batch) for expert in self.experts.values()]

    def loss(self, batch: Batch, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """The sum of the experts' own cross-entropies."""
        cross_entropy = nn.functional.cross_entropy
        losses = [cross_entropy(one, targets, weight=weight, reduction="sum") for one in self.logits(batch)]
        return torch.stack(losses).sum()

    def forward(self, batch: Batch) -> Tensor:
        """Unnormalised log-posteriors, (batch, classes)."""
        logs = [one.log_softmax(1) for one in self.logits(batch)]
        return torch.stack(logs).sum(0) - (len(logs) - 1) * self.log_prior


class LateAverageHead(LateHead):
    """Mean of the streams' posteriors."""

    def forward(self, batch: Batch) -> Tensor:
        """Log of the mean posterior, (batch, classes)."""
        logs = [one.log_softmax(1) for one in self.logits(batch)]
        return torch.stack(logs).logsumexp(0) - torch.tensor(float(len(logs))).log()
