"""Where trained heads come from: a run directory of ser-fuse, or a folder that ser export wrote. Both look the same here."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ser_fusion.evaluation.run_directory import RunDirectory
from ser_predict.models.ensemble import Ensemble, development_uwa, open_ensemble, row_streams, trained_rows


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


class RunHeads(HeadSource):
    """The heads of a run directory.

    Raises:
        NotARun: The folder is none.
    """

    def __init__(self, path: Path) -> None:
        self.run = RunDirectory.open(path)
        self.path = self.run.path
        self.facts = self.run.run
        self.classes = tuple(self.run.classes)

    @cached_property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        return trained_rows(self.run)

    @property
    def durations(self) -> list[float]:
        return [float(value) for value in self.run.utterances.get("duration", [])]

    def streams(self, slug: str) -> tuple[str, ...]:
        return row_streams(self.run, slug)

    def uwa(self, slug: str) -> float:
        return development_uwa(self.run, slug)

    def open(
        self, row: Mapping[str, Any], *, fold: str | None = None, seed: int | None = None, calibrate: bool = True
    ) -> Ensemble:
        return open_ensemble(self.run, row, fold=fold, seed=seed, calibrate=calibrate)

    def scores(self, slug: str) -> Mapping[str, Any] | None:
        return self._scores.get(slug)

    @cached_property
    def _scores(self) -> dict[str, Mapping[str, Any]]:
        from ser_fusion.reporting.report import current_metrics

        return {str(row["slug"]): row["metrics"] for row in current_metrics(self.run)["rows"]}


def open_heads(path: str | Path) -> HeadSource:
    """The heads in a folder: of ser-fuse, or of ``ser export --hub``.

    Raises:
        NotARun: It is neither.
        BadExport: It was exported, and cannot be read.
    """
    folder = Path(path)
    if (folder / "config.json").exists() and not (folder / "run.json").exists():
        from ser_predict.export.hub import HubHeads

        return HubHeads(folder)
    return RunHeads(folder)
