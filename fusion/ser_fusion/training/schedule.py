"""Learning-rate schedules, all declared in the result: plateau, cosine, one-cycle, none."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

EPOCHS = 5  # of a training of fixed length, and so many more that these steps are made
STEPS = 80
PLATEAU_PATIENCE = 4  # epochs; below every preset's stopping patience, or the rate would never fall
PLATEAU_GAIN = 1e-4  # of the development score; absolute, since a share of a negative score (minus a loss) is a loss


def fixed_epochs(utterances: int, batch: int) -> int:
    """How long a training without early stopping lasts: whole epochs that make ``STEPS`` steps, at least ``EPOCHS`` of them.

    Measured on development parts; docs/reference/heads.md has the figures.

    Args:
        utterances: Of the training part.
        batch: Utterances per step.
    """
    steps = -(-utterances // batch)
    return max(EPOCHS, -(-STEPS // max(1, steps)))


class Schedule:
    """Changes the learning rate after each step and each epoch.

    Args:
        name: ``plateau`` (halved after 4 epochs without a better development score), ``cosine`` (to 0 over all epochs),
            ``one-cycle`` (up for 30 % of all steps, then down; its peak is the rate given) or ``none``.
        optimiser: The optimiser whose learning rate changes.
        epochs: Maximum number of epochs.
        steps: Steps per epoch.
    """

    def __init__(self, name: str, optimiser: Optimizer, epochs: int, steps: int) -> None:
        self.per_step: Any = None
        self.per_epoch: Any = None
        self.plateau: ReduceLROnPlateau | None = None
        if name == "plateau":
            self.plateau = ReduceLROnPlateau(
                optimiser,
                mode="max",
                factor=0.5,
                patience=PLATEAU_PATIENCE,
                threshold=PLATEAU_GAIN,
                threshold_mode="abs",
            )
        elif name == "cosine":
            self.per_epoch = CosineAnnealingLR(optimiser, epochs)
        elif name == "one-cycle":
            peaks = [group["lr"] for group in optimiser.param_groups]
            # one more than are made: after the very last step the rate has reached its end
            self.per_step = OneCycleLR(optimiser, peaks, total_steps=epochs * steps + 1)

    def after_step(self) -> None:
        """One optimiser step was made."""
        if self.per_step is not None:
            self.per_step.step()

    def after_epoch(self, score: float | None) -> None:
        """One epoch is over; the development score (higher is better), or None without a development part."""
        if self.per_epoch is not None:
            self.per_epoch.step()
        if self.plateau is not None and score is not None:
            self.plateau.step(score)
