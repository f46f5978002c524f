"""The weights that early stopping keeps: of the best epoch, or of each expert's own where experts are trained apart.

An expert that learns its stream by heart in three epochs should not be kept from the epoch in which another one is best.
"""

from collections.abc import Mapping
from copy import deepcopy

import numpy as np

from ser_fusion.heads.model import Model

WHOLE = ""


def apart(model: Model) -> bool:
    """Whether its experts are judged alone: they share nothing, and there are classes to tell apart."""
    return model.head.apart and int(model.card["classes"]) > 1


class BestEpoch:
    """Keeps a copy of a model's best weights.

    Args:
        model: Which; untrained.
        until: The last epoch of each part, from an earlier training: weights are then kept up to it, whatever they score.

    Attributes:
        epochs: Epoch (from 1) that each part is kept from: ``""`` for the whole model, and each stream by its name where the
            experts are trained apart.
    """

    def __init__(self, model: Model, until: Mapping[str, int] | None = None) -> None:
        self.parts: dict[str, list[str]] = {WHOLE: [], **{stream: [] for stream in model.streams if apart(model)}}
        owners = {f"raters.layers.{number}.": stream for number, stream in enumerate(model.streams)}
        owners |= {f".{stream}.": stream for stream in model.streams}
        for name in model.state_dict():
            owner = next((stream for path, stream in owners.items() if path in name), WHOLE)
            self.parts[owner if owner in self.parts else WHOLE].append(name)
        self.until = until
        self.epochs = dict.fromkeys(self.parts, 0)
        self.scores = dict.fromkeys(self.parts, -np.inf)
        self.state = deepcopy(model.state_dict())

    @property
    def last(self) -> int:
        """The last epoch that anything is kept from."""
        return max(self.epochs.values())

    def offer(self, epoch: int, model: Model, scores: Mapping[str, float] | None) -> None:
        """Shows the weights after an epoch.

        Args:
            epoch: From 1.
            model: With these weights.
            scores: Of each part on the development part, higher is better; None if there is none: the last epoch counts.
        """
        better = [
            part
            for part in self.parts
            if (epoch <= self.until[part] if self.until else scores is None or scores[part] > self.scores[part])
        ]
        state = model.state_dict() if better else {}
        for part in better:
            self.epochs[part] = epoch
            if scores is not None:
                self.scores[part] = scores[part]
            self.state |= {name: deepcopy(state[name]) for name in self.parts[part]}
