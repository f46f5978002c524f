"""Supervised contrastive loss on pooled vectors, in which confused classes push each other away harder.

Source: Khosla et al., NeurIPS 2020, eq. 2 (``L_out``), one view per utterance. For an anchor ``i`` with the other utterances of
its class in the batch ``P(i)`` and unit vectors ``z``::

    L_i = - 1/|P(i)| sum_{p in P(i)} log( exp(z_i z_p / t) / sum_{a != i} v(y_i, y_a) exp(z_i z_a / t) )

``v`` is 1; between the two classes of a declared pair (angry and frustrated, happy and excited) it is ``--pair-weight``, so that
``v`` = 1 is the paper's loss. Pair-aware weights are this project's; close relatives: Robinson et al., ICLR 2021 (hard
negatives), and MultiEMO (Shi & Huang, ACL 2023). No projection network: the loss shapes the very vector that is classified.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

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
    known = targets >= 0
    z, y = torch.nn.functional.normalize(vectors[known], dim=1), targets[known]
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
    for one, other in pairs:
        out[one, other] = out[other, one] = float(torch.tensor(weight).log())
    return out
