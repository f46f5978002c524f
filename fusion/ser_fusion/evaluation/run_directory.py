"""Reads a run directory: the contract between training and everything that judges it.

Only plain data is read (JSON, Parquet, CSV); nothing of a run is ever executed or unpickled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from ser_fusion.errors import NotARun, RecordBroken
from ser_fusion.evaluation import records
from ser_fusion.evaluation.parts import speakers_of
from ser_fusion.evaluation.records import check, read_json
from ser_fusion.evaluation.temperatures import Temperature, fold_temperatures

PREDICTION_COLUMNS = ("row", "id", "fold", "seed", "label", "predicted")


def job_folders(path: Path, slug: str = "*") -> list[Path]:
    """The folders of trainings (of one row), sorted. They appear whole; half-written ones have other names."""
    return sorted((path / "jobs").glob(f"{slug}/fold*-seed*"))


@dataclass(frozen=True)
class RunDirectory:
    """One finished (or interrupted) run of ``ser-fuse``.

    Attributes:
        path: The directory.
        run: ``run.json`` as a dict.
    """

    path: Path
    run: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> "RunDirectory":
        """Reads ``run.json``; raises ``NotARun`` if it is missing or cannot be read."""
        folder = Path(path)
        if not (folder / "run.json").exists():
            raise NotARun(str(folder), "it has no run.json")
        try:
            run = read_json(folder / "run.json")
        except RecordBroken as error:
            raise NotARun(str(folder), f"run.json: {error.problem}") from None
        if not isinstance(run, dict) or run.get("format") != 1:
            raise NotARun(
                str(folder), f"run.json has format {run.get('format') if isinstance(run, dict) else None!r}, known is 1"
            )
        if run.get("task") == "vad":
            raise NotARun(
                str(folder), "it predicts ratings, not classes (--task vad); its tables are in vad.md and metrics.json"
            )
        missing = [key for key in ("classes", "protocol", "folds_fingerprint", "corpus", "rows") if key not in run]
        if missing:
            raise NotARun(str(folder), f"run.json lacks {', '.join(missing)}")
        try:
            check(run, records.Run, folder / "run.json")
        except RecordBroken as error:
            raise NotARun(str(folder), f"run.json: {error.problem}") from None
        return cls(folder, run)

    @property
    def classes(self) -> list[str]:
        """Class names in order."""
        return [str(name) for name in self.run["classes"]]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Row information of every row that has predictions, in the table's order."""
        have = set(self.predictions["row"].unique())
        return [row for row in self.run["rows"] if row["slug"] in have]

    @property
    def pooled_only(self) -> bool:
        """Whether a mean over folds makes no sense under this protocol."""
        return str(self.run["protocol"]) == "session+scenario"

    def _frame(self, name: str) -> pd.DataFrame:
        if (self.path / name).is_dir():  # pandas would read whatever lies in it
            raise NotARun(str(self.path), f"{name} is a folder")
        try:
            frame = pd.read_parquet(self.path / name)
        except FileNotFoundError:
            raise NotARun(str(self.path), f"it has no {name}") from None
        except Exception as error:  # noqa: BLE001  # whatever a foreign file makes pyarrow and pandas raise
            raise NotARun(str(self.path), f"{name} cannot be read: {error}") from None
        return frame

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Test predictions of all rows."""
        return self._checked("predictions.parquet")

    @cached_property
    def development(self) -> pd.DataFrame | None:
        """Development predictions of the trained rows, or None."""
        return self._checked("development.parquet") if (self.path / "development.parquet").exists() else None

    def _checked(self, name: str) -> pd.DataFrame:
        frame = self._frame(name)
        wanted = [*PREDICTION_COLUMNS, *(f"p_{label}" for label in self.classes)]
        if missing := [column for column in wanted if column not in frame]:
            raise NotARun(str(self.path), f"{name} lacks the columns {', '.join(missing)}")
        numbers = ["seed", *wanted[len(PREDICTION_COLUMNS) :]]
        if wrong := [column for column in numbers if not is_numeric_dtype(frame[column])]:
            raise NotARun(str(self.path), f"{name} has no numbers in the column {wrong[0]}")
        if not np.isfinite(frame[numbers].to_numpy(np.float64, na_value=np.nan)).all():
            raise NotARun(str(self.path), f"{name} has numbers that are not finite")
        frame["fold"] = frame["fold"].astype(str)
        frame["id"] = frame["id"].astype(str)
        for column in ("label", "predicted"):
            if unknown := sorted(set(frame[column].astype(str).unique()) - set(self.classes)):
                raise NotARun(str(self.path), f"{name} has the {column} {unknown[0]!r}, which is none of its classes")
        return frame

    @cached_property
    def utterances(self) -> pd.DataFrame:
        """Utterances with index = id: label, speaker, session, scenario, gender, text ..."""
        frame = self._frame("utterances.parquet")
        if "id" in frame:
            frame = frame.set_index(frame["id"].astype(str))
        if "duration" in frame and not is_numeric_dtype(frame["duration"]):
            raise NotARun(str(self.path), "utterances.parquet has no numbers in the column duration")
        frame.index = frame.index.astype(str)
        return frame

    @cached_property
    def folds(self) -> pd.DataFrame:
        """``folds.csv``: columns ``id, fold, part`` (strings)."""
        try:
            frame = pd.read_csv(self.path / "folds.csv", dtype=str, keep_default_na=False)
        except FileNotFoundError:
            raise NotARun(str(self.path), "it has no folds.csv") from None
        except (OSError, ValueError) as error:
            raise NotARun(str(self.path), f"folds.csv cannot be read: {error}") from None
        if missing := [column for column in ("id", "fold", "part") if column not in frame]:
            raise NotARun(str(self.path), f"folds.csv lacks the columns {', '.join(missing)}")
        return frame

    def of_row(self, slug: str) -> pd.DataFrame:
        """Test predictions of one row."""
        return self.predictions[self.predictions["row"] == slug]

    def temperatures(self, slug: str) -> dict[str, Temperature]:
        """Fold to what the logits of a row are divided by, from its development predictions."""
        dev = self.development
        own = None if dev is None else dev[dev["row"] == slug]
        tested = {str(fold): part["id"] for fold, part in self.of_row(slug).groupby("fold")}
        return fold_temperatures(own, tested, self.classes, speakers_of(self.utterances))


# Finds run directories below a folder.
DEPTH = 4


@dataclass(frozen=True)
class Listed:
    """One run: what it was, and whether it holds predictions; ``problem`` where it cannot be read."""

    path: Path
    corpus: str
    protocol: str
    classes: int
    rows: tuple[str, ...]
    seeds: tuple[int, ...]
    folds: str
    problem: str | None = None


def find_runs(folder: str | Path, depth: int = DEPTH) -> Iterator[Listed]:
    """Every folder at most ``depth`` levels down that holds a run.json, sorted by path; symbolic links are not followed."""
    root = Path(folder)
    if not root.is_dir():
        raise NotARun(str(root), "the folder does not exist")
    places = [root]
    for _ in range(depth + 1):
        below = []
        for place in sorted(places):
            if (place / "run.json").is_file():
                yield _listed(place)
            else:
                below += [child for child in place.iterdir() if child.is_dir() and not child.is_symlink()]
        places = below


def _listed(path: Path) -> Listed:
    try:
        run = RunDirectory.open(path).run
    except NotARun as error:
        return Listed(path, "", "", 0, (), (), "", error.reason)
    rows = tuple(str(row["slug"]) for row in run["rows"] if row.get("kind") != "reference")
    return Listed(
        path,
        str(run["corpus"].get("name")),
        str(run["protocol"]),
        len(run["classes"]),
        rows,
        tuple(run.get("seeds", ())),
        str(run["folds_fingerprint"])[:8],
        None if (path / "predictions.parquet").exists() else "no predictions yet",
    )
