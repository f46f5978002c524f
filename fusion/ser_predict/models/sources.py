"""Where trained heads come from: a run directory of ser-fuse, or a folder that ser export wrote. Both look the same here."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ser_fusion.evaluation.run_directory import RunDirectory
from ser_predict.models.base import HeadSource
from ser_predict.models.ensemble import Ensemble, development_uwa, open_ensemble, row_streams, trained_rows


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
        from ser_predict.models.hub import HubHeads

        return HubHeads(folder)
    return RunHeads(folder)
