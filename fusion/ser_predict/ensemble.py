"""The trained heads of one row of a run: every fold and seed, each with its temperature, averaged.

A head's temperature is that of its fold in the evaluation of the run (``ser_fusion.evaluation.temperatures``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_fusion.evaluation.metrics import score_fold
from ser_fusion.evaluation.run_directory import RunDirectory, job_folders
from ser_fusion.evaluation.temperatures import arrays_of, not_applied, tempered
from ser_fusion.records import Card, Done, read_record
from ser_predict.errors import NoModel

if TYPE_CHECKING:
    from ser_fusion.features import StreamFrames
    from ser_fusion.model import Model


RAW = "raw posteriors were asked for"


@dataclass(frozen=True, slots=True)
class Member:
    """One trained head.

    Attributes:
        model: Ready to predict.
        fold: Name of the fold it was not tested on while training.
        seed: Its seed.
        temperature: Its logits are divided by this; 1.0 where calibration was not applied.
        pad_to: Frames each stream is filled to (as-found).
    """

    model: "Model"
    fold: str
    seed: int
    temperature: float
    pad_to: Mapping[str, int]


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

    def posteriors(self, streams: "Mapping[str, StreamFrames]", utterances: int) -> NDArray[np.float64]:
        """Mean of the members' calibrated posteriors, (utterances, classes); rows sum to 1."""
        from ser_fusion.feed import Feed
        from ser_fusion.scoring import posteriors

        rows = np.arange(utterances, dtype=np.int64)
        given = []
        for member in self.members:
            feed = Feed(streams, self.streams, pad_to=member.pad_to)
            own = posteriors(member.model, feed, rows).astype(np.float64)
            given.append(own if member.temperature == 1.0 else tempered(own, member.temperature))
        mean: NDArray[np.float64] = np.mean(given, axis=0)
        return mean

    def reliability(self, threshold: float) -> tuple[float, float]:
        """What a threshold is worth on development data: share of predictions at or above it, and how many of those are
        right (NaN if there are none)."""
        confidence, right = self.sure
        kept = confidence >= threshold
        return (float(kept.mean()) if len(kept) else float("nan")), (
            float(right[kept].mean()) if kept.any() else float("nan")
        )


def trained_rows(run: RunDirectory) -> list[dict[str, Any]]:
    """Rows of a run that have trained heads, in the table's order."""
    return [row for row in run.run["rows"] if row["kind"] == "head" and _folders(run.path, row["slug"])]


def open_ensemble(
    run: RunDirectory,
    row: Mapping[str, Any],
    *,
    fold: str | None = None,
    seed: int | None = None,
    calibrate: bool = True,
) -> Ensemble:
    """Loads the heads of a row.

    Args:
        run: The run directory.
        row: One of ``trained_rows``.
        fold: Only the heads of this fold.
        seed: Only those of this seed.
        calibrate: Divide logits by the temperatures; otherwise posteriors are those of ``predictions.parquet``.

    Raises:
        NoModel: No head of that fold or seed, or the row needs the test speakers' own speech.
    """
    from ser_fusion.model import load_model

    if row.get("transductive"):
        problem = f"the row '{row['slug']}' normalises by other speech of the same speaker, which a new recording lacks"
        raise NoModel(str(run.path), problem, _names(run))
    if run.run.get("job", {}).get("context"):
        turns = run.run["job"]["context"]
        problem = (
            f"its heads read the {turns} previous turns of a dialogue (--context {turns}), which a recording lacks"
        )
        raise NoModel(str(run.path), problem, _names(run))
    members = []
    frames = development_of(run, str(row["slug"]))
    temperatures = run.temperatures(str(row["slug"])) if calibrate else {}
    for folder, done in _folders(run.path, str(row["slug"])):
        if fold not in (None, str(done["fold"])) or seed not in (None, int(done["seed"])):
            continue
        card = read_record(folder / "head.json", Card)
        found = temperatures.get(str(done["fold"]))
        temperature = 1.0 if found is None else found.value
        members.append(
            Member(
                load_model(folder), str(done["fold"]), int(done["seed"]), temperature, dict(card.get("pad_to") or {})
            )
        )
    if not members:
        which = " and ".join(part for part in (fold and f"fold {fold}", seed is not None and f"seed {seed}") if part)
        have = sorted({f"fold {done['fold']} seed {done['seed']}" for _, done in _folders(run.path, str(row["slug"]))})
        raise NoModel(
            str(run.path), f"the row '{row['slug']}' has no head of {which}; it has {', '.join(have[:8])}", _names(run)
        )
    return Ensemble(
        slug=str(row["slug"]),
        name=str(row["name"]),
        streams=members[0].model.streams,
        text_first_only=row.get("text_input") == "cls",
        uwa=development_uwa(run, str(row["slug"])),
        members=tuple(members),
        sure=_sure(frames, run.classes, members),
        uncalibrated=not_applied(temperatures[m.fold] for m in members if m.fold in temperatures) if calibrate else RAW,
    )


def row_streams(run: RunDirectory, slug: str) -> tuple[str, ...]:
    """Streams that the heads of a row read."""
    folder, _ = _folders(run.path, slug)[0]
    return tuple(read_record(folder / "head.json", Card)["dims"])


def development_of(run: RunDirectory, slug: str) -> dict[tuple[str, int], pd.DataFrame]:
    """(fold, seed) -> development predictions of a row."""
    frame = run.development
    if frame is None:
        return {}
    own = frame[frame["row"] == slug]
    return {(str(fold), int(str(seed))): part for (fold, seed), part in own.groupby(["fold", "seed"])}


def development_uwa(run: RunDirectory, slug: str) -> float:
    """Mean UWA over the development parts of a row; NaN without any."""
    scores = [score_fold(p["label"], p["predicted"], run.classes)["UWA"] for p in development_of(run, slug).values()]
    return float(np.mean(scores)) if scores else float("nan")


def _names(run: RunDirectory) -> tuple[str, ...]:
    return tuple(str(row["slug"]) for row in trained_rows(run))


def _folders(path: Path, slug: str) -> list[tuple[Path, dict[str, Any]]]:
    found = [folder for folder in job_folders(path, slug) if (folder / "done.json").exists()]
    return [(folder, read_record(folder / "done.json", Done)) for folder in found]


def _sure(
    frames: Mapping[tuple[str, int], pd.DataFrame], classes: Sequence[str], members: Sequence[Member]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    confidence, right = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    for member in members:
        own = frames.get((member.fold, member.seed))
        if own is not None:
            values, targets = arrays_of(own, classes)
            cooled = tempered(values, member.temperature)
            confidence.append(cooled.max(axis=1))
            right.append(cooled.argmax(axis=1) == targets)
    return np.concatenate(confidence), np.concatenate(right)
