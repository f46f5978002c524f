"""The settings of a training and its result, as plain data. The training itself is in ``training.train``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.frames.features import StreamFrames
from ser_fusion.heads.shape import Shape
from ser_fusion.study.separation import Separation
from ser_fusion.training.losses.levers import PLAIN, Levers
from ser_fusion.training.presets import STOPPED_EPOCHS, Training, fixed_epochs

if TYPE_CHECKING:
    from ser_fusion.heads.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that decides the result of one job; plain data, picklable.

    Attributes:
        fusion: Name of the head.
        streams: Streams it reads.
        shape: Sizes and switches.
        training: Optimiser, schedule, patience.
        dropouts: Pairs (frame, pool) of dropout probabilities to choose from on the development part; none for the shape's own.
        normalise: Features normalised by the training part.
        pad_to: Number of frames to which zeros fill each utterance (as-found).
        classes: Number of classes.
        epochs: Number of epochs; with early stopping the maximum. None for ``fixed_epochs``, or for ``STOPPED_EPOCHS`` with
            early stopping.
        select: ``uwa`` or ``loss``.
        class_weights: ``none`` or ``balanced``.
        refit: Then train again on training and development part together, and test that model. A training of fixed length
            is made in the same way on more utterances; one that stopped early for as many epochs, with the same learning rates.
        re_pair: In training, pair every stream but the first with another utterance of the same class, again in each epoch.
        levers: Loss, targets and sampling where they are not plain cross-entropy on class numbers.
        context: Maximum number of previous turns that are read.
        seed: What all random draws derive from.
        device: ``cpu``, ``cuda`` or one card, as ``cuda:1``.
    """

    fusion: str
    streams: tuple[str, ...]
    shape: Shape
    training: Training
    dropouts: tuple[tuple[float, float], ...]
    normalise: bool
    pad_to: Mapping[str, int]
    classes: int
    epochs: int | None
    select: str
    class_weights: str
    seed: tuple[int, int]
    refit: bool = False
    re_pair: bool = False
    levers: Levers = PLAIN
    context: int = 0
    device: str = "cpu"

    def lasts(self, utterances: int) -> int:
        """Number of epochs of a training on this number of utterances; with early stopping the maximum."""
        stops = self.training.patience is not None
        return self.epochs or (STOPPED_EPOCHS if stops else fixed_epochs(utterances, self.training.batch))


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a training learns from and is tested on; plain data, picklable. Rows of the study in all of it.

    Attributes:
        streams: Frames of all streams.
        targets: Class number per utterance, (utterances,) int64; -1 for one without a class, which may train where there are
            votes.
        ids: Utterance ids, for the tables of predictions.
        classes: Class names in order, likewise.
        votes: Class distributions, (utterances, classes), where the plan's targets are votes.
        ratings: Valence, arousal, dominance, (utterances, dimensions), where the plan learns them.
        apart: What the folds promise to keep apart, asserted on the rows of each training; None where nothing was promised.
    """

    streams: Mapping[str, StreamFrames]
    targets: NDArray[np.int64]
    ids: Sequence[str] = ()
    classes: Sequence[str] = ()
    votes: NDArray[np.float32] | None = None
    ratings: NDArray[np.float32] | None = None
    apart: Separation | None = None


@dataclass(slots=True)
class Trained:
    """The result of one job.

    Attributes:
        model: With the weights that count.
        dev: Posteriors of the development part, (utterances, classes) float32, rows in the order given.
        test: The same of the test part.
        curve: One dict per epoch: epoch, lr, train_loss, dev_loss, dev_wa, dev_uwa, seconds [, test_wa, test_uwa].
        best_epochs: The epoch that weights are from: of each expert, by stream, where experts are trained apart; else of the
            whole, under ``""``.
        ratings: Predicted ratings of the test part, (utterances, dimensions), where they are learned beside classes. With
            ``--task vad`` ``dev`` and ``test`` are ratings.
        notes: What a reader should know.
    """

    model: "Model"
    dev: NDArray[np.float32]
    test: NDArray[np.float32]
    curve: list[dict[str, Any]]
    best_epochs: dict[str, int]
    notes: list[str] = field(default_factory=list)
    ratings: NDArray[np.float32] | None = None

    @property
    def best_epoch(self) -> int:
        """From 1; the last one that weights are from."""
        return max(self.best_epochs.values())
