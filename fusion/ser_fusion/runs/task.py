"""One training of a run, and the search for its settings: plain data, picklable."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.runs.job import Row
from ser_fusion.runs.tuning.inner import Inner
from ser_fusion.training.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is to be searched for a row on a fold; plain data, picklable.

    Attributes:
        trials: Budget, the same for every row.
        space: Settings and their ranges.
        sampler: ``tpe`` or ``random``.
        inner: The inner folds.
        fingerprint: Of everything that decides a trial beside its number.
        folder: Path below the run directory.
    """

    trials: int
    space: Mapping[str, Mapping[str, Any]]
    sampler: str
    inner: Inner
    fingerprint: str
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One training.

    Attributes:
        row: Which row of the table.
        fold: Number of the fold, from 0.
        fold_name: Its name.
        seed: The seed.
        plan: Everything that decides the result beside the data.
        parts: Rows of the study for ``train``, ``dev``, ``test``; with ``--extra-text`` also ``extra``, (2, lines): rows of
            the stream ``text`` behind those of the study, and their classes.
        fingerprint: xxh3-128 of plan, parts and data; a finished task with the same one is not done again.
        ground: xxh3-128 of the data alone: utterances, inputs, labels and folds.
        search: How its settings are found before it is trained; None where they are the plan's.
    """

    row: Row
    fold: int
    fold_name: str
    seed: int
    plan: Plan
    parts: Mapping[str, NDArray[np.int64]]
    fingerprint: str
    ground: str
    search: Search | None = None

    @property
    def folder(self) -> str:
        """Path below the run directory."""
        return f"jobs/{self.row.slug}/fold{self.fold}-seed{self.seed}"
