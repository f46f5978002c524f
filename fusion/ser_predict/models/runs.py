"""The trained heads of a run directory of ``ser fuse``: every fold and seed of a row, each with its temperature."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_fusion.evaluation.calibration import not_applied
from ser_fusion.evaluation.metrics import score_fold
from ser_fusion.evaluation.records import Card, Done, read_record
from ser_fusion.evaluation.run_directory import RunDirectory, job_folders
from ser_fusion.evaluation.temperatures import arrays_of, tempered
from ser_predict.errors import NoModel
from ser_predict.models.ensemble import RAW, Ensemble, HeadSource, Member
from ser_predict.models.stacks import alone, open_stack


class RunHeads(HeadSource):
    """The heads of a run directory.

    Raises:
        NotARun: The folder is not a run directory.
    """

    def __init__(self, path: Path) -> None:
        self.run = RunDirectory.open(path)
        self.path = self.run.path
        self.facts = self.run.run
        self.classes = tuple(self.run.classes)

    @cached_property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        rows = [row for row in self.facts["rows"] if _predicts(row)]
        return [row for row in rows if row["kind"] == "reference" or self._folders(row)]

    @property
    def durations(self) -> list[float]:
        return [float(value) for value in self.run.utterances.get("duration", [])]

    def streams(self, slug: str) -> tuple[str, ...]:
        row = next(row for row in self.facts["rows"] if row["slug"] == slug)
        if row["kind"] == "reference":
            return tuple(row["streams"])
        folder, _ = self._folders(row)[0]
        return tuple(read_record(folder / "head.json", Card)["dims"])

    def uwa(self, slug: str) -> float:
        parts = self._development(slug).values()
        scores = [score_fold(part["label"], part["predicted"], self.classes)["UWA"] for part in parts]
        return float(np.mean(scores)) if scores else float("nan")

    def scores(self, slug: str) -> Mapping[str, Any] | None:
        return self._scores.get(slug)

    @property
    def leaks(self) -> Sequence[str]:
        seen, audit = self._metrics.get("overlap"), self._metrics.get("audit") or {}
        own = [f"{seen['share']:.1%} of the test texts occur in the training part of their fold too."] if seen else []
        return [*own, *audit.get("words", ("Protocols were not audited (`ser audit RUN` does that).",))]

    @property
    def _scores(self) -> dict[str, Mapping[str, Any]]:
        return {str(row["slug"]): row["metrics"] for row in self._metrics["rows"]}

    @cached_property
    def _metrics(self) -> Mapping[str, Any]:
        from ser_fusion.reporting.report import current_metrics

        return current_metrics(self.run)

    def open(
        self, row: Mapping[str, Any], *, fold: str | None = None, seed: int | None = None, calibrate: bool = True
    ) -> Ensemble:
        slug, by_seed = str(row["slug"]), row["kind"] == "ensemble"
        self._refuse(row)
        temperatures = self.run.temperatures(_heads_of(row) if by_seed else slug) if calibrate else {}
        degrees = {name: temperature.value for name, temperature in temperatures.items()}
        members = list(self._members(row, degrees, fold, seed))
        if not members:
            raise self.lacks(slug, fold, seed, ((done["fold"], done["seed"]) for _, done in self._folders(row)))
        return Ensemble(
            slug=slug,
            name=str(row["name"]),
            streams=self.streams(slug),
            text_first_only=row.get("text_input") == "cls",
            uwa=self.uwa(slug),
            members=tuple(members),
            sure=_sure(self._development(slug), self.classes, members, by_seed),
            by_seed=by_seed,
            uncalibrated=not_applied(temperatures[m.fold] for m in members if m.fold in temperatures)
            if calibrate
            else RAW,
        )

    def _refuse(self, row: Mapping[str, Any]) -> None:
        """Raises ``NoModel`` for heads that read more than a recording holds."""
        problem = None
        if row.get("transductive"):
            problem = (
                f"the row '{row['slug']}' normalises with other speech of the same speaker, which a new recording lacks"
            )
        elif turns := self.facts.get("job", {}).get("context"):
            problem = (
                f"its heads read the {turns} previous turns of a dialogue (--context {turns}), which a recording lacks"
            )
        if problem is not None:
            raise NoModel(str(self.path), problem, self.slugs)

    def _members(
        self, row: Mapping[str, Any], degrees: Mapping[str, float], fold: str | None, seed: int | None
    ) -> Iterator[Member]:
        """The heads of a row, or its linear probes; ``degrees`` has the temperature of each fold."""
        from ser_fusion.heads.model import load_model

        cards = row.get("stack") or alone(row, len(self.classes))
        stacks = {name: open_stack(card, self.path, str(row["slug"]), self.slugs) for name, card in cards.items()}
        for folder, done in self._folders(row):
            name = str(done["fold"])
            if fold in (None, name) and seed in (None, int(done["seed"])):
                pad_to = dict(read_record(folder / "head.json", Card).get("pad_to") or {})
                model, temperature = load_model(folder), degrees.get(name, 1.0)
                yield Member(model, name, int(done["seed"]), temperature, pad_to, stacks.get(name))
        if row["kind"] == "reference" and seed in (None, 0):
            for name, stack in stacks.items():
                if fold in (None, name):
                    yield Member(None, name, 0, degrees.get(name, 1.0), {}, stack)

    def _folders(self, row: Mapping[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
        """The finished jobs that trained the heads of a row, each with its ``done.json``."""
        done = [folder for folder in job_folders(self.path, _heads_of(row)) if (folder / "done.json").exists()]
        return [(folder, read_record(folder / "done.json", Done)) for folder in done]

    def _development(self, slug: str) -> dict[tuple[str, int], pd.DataFrame]:
        """(fold, seed) -> development predictions of a row."""
        frame = self.run.development
        if frame is None:
            return {}
        own = frame[frame["row"] == slug]
        return {(str(fold), int(str(seed))): part for (fold, seed), part in own.groupby(["fold", "seed"])}


def _predicts(row: Mapping[str, Any]) -> bool:
    averaged = row["kind"] == "ensemble" and str(row["slug"]).endswith("-ensemble-seeds") and row.get("fusion")
    return bool(row["kind"] == "head" or row.get("stack") or alone(row, 1) or averaged)


def _heads_of(row: Mapping[str, Any]) -> str:
    """The slug of the row whose heads a row is made of; its own for a row of heads."""
    return str(row["slug"] if row["kind"] in ("head", "reference") else row["of"])


def _sure(
    frames: Mapping[tuple[str, int], pd.DataFrame], classes: Sequence[str], members: Sequence[Member], by_seed: bool
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    confidence, right = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    # predictions of averaged seeds are stored after their temperatures, under seed 0
    wanted = {(m.fold, 0 if by_seed else m.seed): 1.0 if by_seed else m.temperature for m in members}
    for place, temperature in wanted.items():
        own = frames.get(place)
        if own is not None:
            values, targets = arrays_of(own, classes)
            cooled = tempered(values, temperature)
            confidence.append(cooled.max(axis=1))
            right.append(cooled.argmax(axis=1) == targets)
    return np.concatenate(confidence), np.concatenate(right)
