"""A fusion head as a scikit-learn classifier: X is a one-dimensional array of utterance ids of a study.

``clone``, ``Pipeline``, ``GridSearchCV`` and ``cross_val_predict`` work as with any other estimator; the frames are read
once per study and stride and shared by all clones of the process.
"""

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from ser_fusion.frames.features import StreamFrames, read_stream

if TYPE_CHECKING:
    from ser_fusion.heads.model import Model
    from ser_fusion.study.open import Study

_KEPT = 2
_frames: "OrderedDict[tuple[int, int], tuple[Study, dict[str, StreamFrames]]]" = OrderedDict()


class FusionClassifier(ClassifierMixin, BaseEstimator):
    """A head trained from a study's cached frames.

    Args:
        study: From ``open_study``.
        fusion: Name of the head.
        pooling: Name of the pooling.
        preset: Name of the preset.
        stride: Number of successive frames whose mean the head reads.
        epochs: Number of epochs; the maximum if ``validation`` stops the training. None for the preset's length.
        lr: Learning rate; None for the preset's.
        frame_dropout: Dropout of frames; None for the preset's.
        pool_dropout: Dropout of the classifier's input; None for the preset's.
        patience: Epochs without improvement before stopping; None for the preset's.
        validation: Share of the training speakers that stops the training early and chooses the epoch; 0 trains a fixed
            length on everything. Utterances instead of speakers where there are fewer than two speakers.
        seed: What all random draws derive from.

    Attributes:
        classes_: Labels seen in ``fit``, sorted.
        model_: The trained model.
        curve_: One dict per epoch.
        validation_ids_: Utterances held back from training.

    Examples:
        >>> import numpy as np
        >>> from ser_fusion import FusionClassifier, open_study
        >>> study = open_study("cache", layer="last")
        >>> ids, y = np.array(study.table.index), study.to_sklearn().y
        >>> head = FusionClassifier(study, fusion="audio", stride=2, epochs=1).fit(ids[:24], y[:24])
        >>> head.predict_proba(ids[24:]).shape  # (utterances, classes)
        (12, 3)
    """

    def __init__(
        self,
        study: "Study",
        fusion: str = "cross",
        pooling: str = "stats",
        preset: str = "corrected",
        stride: int = 1,
        epochs: int | None = None,
        lr: float | None = None,
        frame_dropout: float | None = None,
        pool_dropout: float | None = None,
        patience: int | None = None,
        validation: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.study = study
        self.fusion = fusion
        self.pooling = pooling
        self.preset = preset
        self.stride = stride
        self.epochs = epochs
        self.lr = lr
        self.frame_dropout = frame_dropout
        self.pool_dropout = pool_dropout
        self.patience = patience
        self.validation = validation
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Trains the head.

        Args:
            X: Ids, (n,).
            y: Labels, (n,); any values that sort.

        Raises:
            ValueError: X is not one-dimensional, or y is of another length.
            MissingRows: An id is not in the study.
        """
        from ser_fusion.training.plan import TrainingData
        from ser_fusion.training.train import train

        rows, labels = self._rows(X), np.asarray(y)
        if labels.shape != rows.shape:
            raise ValueError(f"X has {len(rows):,} ids and y the shape {labels.shape}; give one label per id")
        self.classes_, codes = np.unique(labels, return_inverse=True)
        targets = np.zeros(len(self.study.table), dtype=np.int64)
        targets[rows] = codes
        held = self._hold_back(rows, codes)
        plan = self._plan()
        parts = {"train": rows[~held], "dev": rows[held], "test": np.zeros(0, dtype=np.int64)}
        trained = train(plan, TrainingData(self._streams(plan.streams), targets), parts)
        self.model_: Model = trained.model
        self.curve_ = trained.curve
        self.validation_ids_ = self.study.table.index.to_numpy()[rows[held]]
        self._pad_to = dict(plan.pad_to)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Posteriors, (n, classes) in the order of ``classes_``."""
        from sklearn.utils.validation import check_is_fitted

        from ser_fusion.frames.feed import Feed
        from ser_fusion.training.scoring import posteriors

        check_is_fitted(self, "model_")
        rows = self._rows(X)
        unique, back = np.unique(rows, return_inverse=True)
        feed = Feed(self._streams(self.model_.streams), self.model_.streams, pad_to=self._pad_to)
        return posteriors(self.model_, feed, unique)[back]

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable labels, (n,)."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def _rows(self, X: ArrayLike) -> NDArray[np.int64]:
        from ser_fusion.errors import MissingRows

        ids = np.asarray(X, dtype=object)
        if ids.ndim != 1:
            raise ValueError(f"X is of shape {ids.shape}; give utterance ids, one-dimensional")
        rows = self.study.rows([str(name) for name in ids])
        if (rows < 0).any():
            unknown = tuple(str(name) for name in ids[rows < 0])
            raise MissingRows(str(self.study.cache), "labelled", unknown, len(ids))
        return rows

    def _hold_back(self, rows: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which utterances only judge epochs: whole speakers, drawn until their share is reached; never all of a class."""
        held = np.zeros(len(rows), dtype=bool)
        if not self.validation:
            return held
        draw = np.random.default_rng([self.seed, 1])
        speakers = self.study.table["speaker"].fillna("").astype(str).to_numpy()[rows]
        groups = speakers if len(np.unique(speakers)) > 1 else rows.astype(str)
        for group in draw.permutation(np.unique(groups)):
            more = held | (groups == group)
            if more.sum() > max(1.0, self.validation * len(rows)) and held.any():
                break
            if len(np.unique(codes[~more])) == len(np.unique(codes)):
                held = more
        return held

    def _plan(self) -> Any:
        from dataclasses import replace

        from ser_fusion.runs.job import FuseJob
        from ser_fusion.runs.planning import plan_of

        settings: dict[str, Any] = {"lr": self.lr, "patience": self.patience if self.validation else None}
        for name in ("frame_dropout", "pool_dropout"):
            value = getattr(self, name)
            settings[name] = None if value is None else (value,)
        job = FuseJob(
            cache=self.study.cache,
            out=Path("unused"),
            fusion=(self.fusion,),
            pooling=(self.pooling,),
            preset=(self.preset,),
            stride=self.stride,
            epochs=self.epochs,
            early_stopping=bool(self.validation),
            refit=False,
            **{name: value for name, value in settings.items() if value is not None},
        )
        available = tuple(self.study.streams)
        (row,) = job.rows(available)
        plan = plan_of(job, self.study, row, available, "cpu")
        return replace(plan, seed=(self.seed, 0), classes=len(self.classes_))

    def _streams(self, names: tuple[str, ...]) -> dict[str, StreamFrames]:
        """Frames of the study, read at the first use and kept for the last studies used."""
        key = (id(self.study), self.stride)
        if key not in _frames:
            _frames[key] = (self.study, {})
        _frames.move_to_end(key)
        while len(_frames) > _KEPT:
            _frames.popitem(last=False)
        streams = _frames[key][1]
        for name in names:
            if name not in streams:
                streams[name] = read_stream(self.study.layers[name], list(self.study.table.index), stride=self.stride)
        return streams
