"""What trained heads are to everything that uses them, wherever they come from: members, their ensemble, their source.

A head's temperature is that of its fold in the evaluation of the run (``ser_fusion.evaluation.temperatures``).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.evaluation.ensembles import mean_log
from ser_fusion.evaluation.temperatures import tempered
from ser_predict.errors import NoModel
from ser_predict.models.stacks import Stack

if TYPE_CHECKING:
    from ser_fusion.frames.features import StreamFrames
    from ser_fusion.heads.model import Model


RAW = "raw posteriors were asked for"


@dataclass(frozen=True, slots=True)
class Member:
    """One trained head.

    Attributes:
        model: Ready to predict; None where linear probes stand alone.
        fold: Name of the fold it was not tested on while training.
        seed: Its seed.
        temperature: Its logits are divided by this; 1.0 where calibration was not applied.
        pad_to: Frames each stream is filled to (as-found).
        stack: What joins its posteriors before the temperature; None for a head alone.
    """

    model: "Model | None"
    fold: str
    seed: int
    temperature: float
    pad_to: Mapping[str, int]
    stack: Stack | None = None


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The heads of one row.

    Attributes:
        slug: Of the row.
        name: As printed.
        streams: Streams that the heads read.
        text_first_only: Whether the text is its first token only.
        uwa: Mean development UWA over folds and seeds, 0 to 1; NaN without development parts.
        members: The heads.
        sure: Development predictions after their temperature: top posterior and whether it was right.
        by_seed: Whether the seeds of a fold are averaged first, by their mean log-posterior (``--ensemble seeds``).
        uncalibrated: Why logits are not divided by a temperature, in some fold at least; empty if they are in all.
    """

    slug: str
    name: str
    streams: tuple[str, ...]
    text_first_only: bool
    uwa: float
    members: tuple[Member, ...]
    sure: tuple[NDArray[np.float64], NDArray[np.bool_]]
    uncalibrated: str = ""
    by_seed: bool = False

    @property
    def stacked(self) -> bool:
        """Whether it reads pooled frames as well."""
        return any(member.stack is not None for member in self.members)

    def posteriors(
        self,
        streams: "Mapping[str, StreamFrames]",
        utterances: int,
        pooled: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> NDArray[np.float64]:
        """Mean of the members' calibrated posteriors, (utterances, classes); rows sum to 1.

        Args:
            streams: Frames as heads read them.
            utterances: Their number.
            pooled: Stream to mean and deviation over all frames, (utterances, 2 features), where the row is ``stacked``.
        """
        from ser_fusion.frames.feed import Feed
        from ser_fusion.training.scoring import posteriors

        rows = np.arange(utterances, dtype=np.int64)
        votes: dict[str, list[NDArray[np.float64]]] = {}
        for number, member in enumerate(self.members):
            own = None
            if member.model is not None:
                feed = Feed(streams, self.streams, pad_to=member.pad_to)
                own = posteriors(member.model, feed, rows).astype(np.float64)
            if member.stack is not None:
                own = member.stack.join(own, pooled or {})
            assert own is not None
            own = own if member.temperature == 1.0 else tempered(own, member.temperature)
            votes.setdefault(member.fold if self.by_seed else str(number), []).append(own)
        mean: NDArray[np.float64] = np.mean([mean_log(np.stack(part)) for part in votes.values()], axis=0)
        return mean / mean.sum(axis=1, keepdims=True)  # heads give float32, whose sums are rounded

    def reliability(self, threshold: float) -> tuple[float, float]:
        """What a threshold is worth on development data: share of predictions at or above it, and how many of those are
        right (NaN if there are none)."""
        confidence, right = self.sure
        kept = confidence >= threshold
        return (float(kept.mean()) if len(kept) else float("nan")), (
            float(right[kept].mean()) if kept.any() else float("nan")
        )


class HeadSource(ABC):
    """Trained heads and what is known about them.

    Attributes:
        path: The folder.
        facts: What ``run.json`` holds of corpus, protocol, labels, features and stride.
        classes: Class names in order.
    """

    path: Path
    facts: Mapping[str, Any]
    classes: tuple[str, ...]

    @property
    @abstractmethod
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Rows that have trained heads, or linear probes, each with ``slug`` and ``name``, in the table's order."""

    @property
    @abstractmethod
    def durations(self) -> list[float]:
        """Seconds of the training's utterances, or a few values that give the same windows."""

    @property
    def leaks(self) -> Sequence[str]:
        """What the leak audit of the run found, in sentences; none without one."""
        leaks: Sequence[str] = self.facts.get("leaks") or ()
        return leaks

    @abstractmethod
    def streams(self, slug: str) -> tuple[str, ...]:
        """Streams that the heads of a row read."""

    @abstractmethod
    def uwa(self, slug: str) -> float:
        """Mean development UWA of a row, 0 to 1; NaN without development parts."""

    @abstractmethod
    def open(
        self, row: Mapping[str, Any], *, fold: str | None = None, seed: int | None = None, calibrate: bool = True
    ) -> Ensemble:
        """Loads the heads of a row.

        Args:
            row: One of ``rows``.
            fold: Only the heads of this fold.
            seed: Only those of this seed.
            calibrate: Divide logits by the temperatures; otherwise posteriors are those of ``predictions.parquet``.

        Raises:
            NoModel: The row does not have heads of that fold or seed, or they read more than a recording holds.
        """

    @abstractmethod
    def scores(self, slug: str) -> Mapping[str, Any] | None:
        """Of a row's test predictions: metric -> ``pooled``, ``low``, ``high`` (0 to 1); None if they were not judged."""

    @property
    def slugs(self) -> tuple[str, ...]:
        """Slugs of ``rows``."""
        return tuple(str(row["slug"]) for row in self.rows)

    def lacks(self, slug: str, fold: str | None, seed: int | None, heads: Iterable[tuple[Any, Any]]) -> NoModel:
        """The error for a row without heads of a fold or seed; ``heads`` has the fold and seed of each."""
        which = " and ".join(part for part in (fold and f"fold {fold}", seed is not None and f"seed {seed}") if part)
        there = ", ".join([f"fold {fold} seed {seed}" for fold, seed in sorted(set(heads))][:8])
        return NoModel(str(self.path), f"the row '{slug}' has no head of {which}; it has {there}", self.slugs)

    @property
    def usable(self) -> list[Mapping[str, Any]]:
        """Rows that may predict unasked: not those that need other speech of the same speaker, and not linear probes."""
        return [row for row in self.rows if not row.get("transductive") and row.get("kind") != "reference"]

    def best(self, available: Sequence[str], preferred: Sequence[str] = ()) -> Mapping[str, Any] | None:
        """The usable row with the best development UWA among those that read most of what was given.

        Args:
            available: Streams that a row may read.
            preferred: Streams that the user gave on purpose: a row that reads more of them comes first.

        Returns:
            None if no usable row reads only the available streams.
        """
        fitting = [row for row in self.usable if set(self.streams(str(row["slug"]))) <= set(available)]

        def rank(row: Mapping[str, Any]) -> tuple[int, float]:
            slug = str(row["slug"])
            return len(set(preferred) & set(self.streams(slug))), float(np.nan_to_num(self.uwa(slug), nan=-1.0))

        return max(fitting, key=rank, default=None)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The heads that answer.

    Attributes:
        source: Where they come from, and what is known about them.
        main: The heads themselves.
        threshold: Below this posterior the answer is ``unsure``.
    """

    source: HeadSource
    main: Ensemble
    threshold: float = 0.0
