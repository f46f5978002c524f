"""Optimisers (adam, adamw) and learning-rate schedules (plateau, cosine, one-cycle, none), all declared in the result."""

import inspect
from typing import Any

import torch
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

PLATEAU_PATIENCE = 4  # epochs; below every preset's stopping patience, or the rate would never fall
PLATEAU_GAIN = 1e-4  # of the development score; absolute, since a share of a negative score (minus a loss) is a loss


def _eager(kind: type[Adam]) -> Any:
    """The same optimiser, which does not load torch's compiler: that takes a second of every process, to be switched off."""
    own = {name: inspect.unwrap(getattr(Optimizer, name)) for name in ("add_param_group", "zero_grad")}
    return type(kind.__name__, (kind,), {**own, "step": torch.no_grad()(inspect.unwrap(kind.step))})


OPTIMISERS = {"adam": _eager(Adam), "adamw": _eager(AdamW)}
"""torch's own, with their arguments."""


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
