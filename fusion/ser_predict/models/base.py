"""What trained heads and their facts are to everything that uses them, wherever they come from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser_predict.models.ensemble import Ensemble


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
        """Seconds of the training's utterances, or a few values of the same windows (``windows.like_training``)."""

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
        """Loads the heads of a row, as ``ensemble.open_ensemble``."""

    @abstractmethod
    def scores(self, slug: str) -> Mapping[str, Any] | None:
        """Of a row's test predictions: metric -> ``pooled``, ``low``, ``high`` (0 to 1); None if they were not judged."""

    @property
    def usable(self) -> list[Mapping[str, Any]]:
        """Rows that may predict unasked: not those that need other speech of the same speaker, and not linear probes."""
        return [row for row in self.rows if not row.get("transductive") and row.get("kind") != "reference"]

    def best(self, available: Sequence[str], given: Sequence[str] = ()) -> Mapping[str, Any] | None:
        """The usable row with the best development UWA among those that read most of what was given.

        Args:
            available: Streams that a row may read.
            given: Streams that the user gave on purpose: a row that reads more of them comes first.

        Returns:
            None if no usable row reads only the available streams.
        """
        fitting = [row for row in self.usable if set(self.streams(str(row["slug"]))) <= set(available)]

        def rank(row: Mapping[str, Any]) -> tuple[int, float]:
            slug = str(row["slug"])
            return len(set(given) & set(self.streams(slug))), float(np.nan_to_num(self.uwa(slug), nan=-1.0))

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
