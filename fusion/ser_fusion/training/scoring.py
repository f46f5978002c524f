"""What a model says of utterances, how good that is, and which weights early stopping therefore keeps.

Scores are taken every epoch on the development part, and once on the test part.
"""

from collections.abc import Mapping
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ser_fusion.frames.feed import Feed
from ser_fusion.heads.model import Model
from ser_fusion.heads.vad import scores as rating_scores
from ser_fusion.training.losses.objective import Truth

Rows = NDArray[np.int64]
EVALUATION_BATCH = 64


@torch.inference_mode()
def posteriors(model: Model, feed: Feed, rows: Rows, partners: Mapping[str, Rows] | None = None) -> NDArray[np.float32]:
    """Class probabilities of these utterances, (rows, classes), rows in the order given; ``partners`` as in ``Feed.batch``."""
    model.eval()
    place = {int(row): number for number, row in enumerate(rows)}
    out = np.zeros((len(rows), int(model.card["classes"])), dtype=np.float32)
    for part, batch in feed.by_length(rows, EVALUATION_BATCH, partners):
        out[[place[int(row)] for row in part]] = model(batch).softmax(1).cpu().numpy()
    return out


@torch.inference_mode()
def expert_logits(model: Model, feed: Feed, rows: Rows) -> tuple[Tensor, Tensor]:
    """What each expert says alone, (experts, rows, classes), and whether it has a frame, (experts, rows); rows as given."""
    model.eval()
    place = {int(row): number for number, row in enumerate(rows)}
    logits = torch.zeros(len(model.streams), len(rows), int(model.card["classes"]))
    heard = torch.zeros(len(model.streams), len(rows), dtype=torch.bool)
    for part, frames in feed.by_length(rows, EVALUATION_BATCH):
        where = [place[int(row)] for row in part]
        logits[:, where] = torch.stack(model.expert_logits(frames)).cpu()
        heard[:, where] = torch.stack([frames[stream].counts > 0 for stream in model.streams]).cpu()
    return logits, heard


def calibrate(model: Model, feed: Feed, rows: Rows, truth: Truth) -> dict[str, dict[str, float]]:
    """Lets the head fit what it fits on the development part; returns each expert's own scores by stream."""
    logits, heard = expert_logits(model, feed, rows)
    model.head.calibrate(logits, heard, truth.classes[rows])
    alone = logits.softmax(2).numpy()
    return {
        stream: _score(expert, truth.classes[rows].numpy()) for stream, expert in zip(model.streams, alone, strict=True)
    }


def scores(model: Model, feed: Feed, rows: Rows, truth: Truth) -> dict[str, float]:
    """Loss, accuracy (WA) and mean recall over the classes that occur (UWA); for ratings alone the mean CCC."""
    if model.raters is not None and truth.ratings is not None and model.card["classes"] == 1:
        return rating_scores(model, feed, rows, truth.ratings)
    return _score(posteriors(model, feed, rows), truth.classes[rows].numpy())


def _score(probabilities: NDArray[np.float32], truth: Rows) -> dict[str, float]:
    """Loss, accuracy and mean recall of posteriors (utterances, classes)."""
    right = probabilities.argmax(1) == truth
    recalls = [right[truth == c].mean() for c in np.unique(truth)]
    loss = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-12)).mean()
    return {"loss": float(loss), "wa": float(right.mean()), "uwa": float(np.mean(recalls))}


# The weights that early stopping keeps: of the best epoch, or of each expert's own where experts are trained apart.
#
# An expert that learns its stream by heart in three epochs should not be kept from the epoch in which another one is best.
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
