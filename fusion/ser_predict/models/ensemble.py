"""The trained heads of one row of a run: every fold and seed, each with its temperature, averaged.

A head's temperature is that of its fold in the evaluation of the run (``ser_fusion.evaluation.calibration``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_fusion.evaluation.calibration import arrays_of, not_applied, tempered
from ser_fusion.evaluation.ensembles import mean_log
from ser_fusion.evaluation.metrics import score_fold
from ser_fusion.evaluation.records import Card, Done, read_record
from ser_fusion.evaluation.run_directory import RunDirectory, job_folders
from ser_predict.errors import NoModel
from ser_predict.models.stacks import Stack, alone, open_stack

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
        given: dict[str, list[NDArray[np.float64]]] = {}
        for number, member in enumerate(self.members):
            own = None
            if member.model is not None:
                feed = Feed(streams, self.streams, pad_to=member.pad_to)
                own = posteriors(member.model, feed, rows).astype(np.float64)
            if member.stack is not None:
                own = member.stack.join(own, pooled or {})
            assert own is not None
            own = own if member.temperature == 1.0 else tempered(own, member.temperature)
            given.setdefault(member.fold if self.by_seed else str(number), []).append(own)
        mean: NDArray[np.float64] = np.mean([mean_log(np.stack(part)) for part in given.values()], axis=0)
        return mean / mean.sum(axis=1, keepdims=True)  # heads give float32, whose sums are rounded

    def reliability(self, threshold: float) -> tuple[float, float]:
        """What a threshold is worth on development data: share of predictions at or above it, and how many of those are
        right (NaN if there are none)."""
        confidence, right = self.sure
        kept = confidence >= threshold
        return (float(kept.mean()) if len(kept) else float("nan")), (
            float(right[kept].mean()) if kept.any() else float("nan")
        )


def trained_rows(run: RunDirectory) -> list[dict[str, Any]]:
    """Rows of a run that can predict, in the table's order: heads, stacked ones, seeds averaged, and linear probes."""
    rows = [row for row in run.run["rows"] if _predicts(row)]
    return [row for row in rows if row["kind"] == "reference" or _folders(run.path, heads_of(row))]


def _predicts(row: Mapping[str, Any]) -> bool:
    averaged = row["kind"] == "ensemble" and str(row["slug"]).endswith("-ensemble-seeds") and row.get("fusion")
    return bool(row["kind"] == "head" or row.get("stack") or alone(row, 1) or averaged)


def heads_of(row: Mapping[str, Any]) -> str:
    """The slug of the row whose heads a row is made of; its own for a row of heads."""
    return str(row["slug"] if row["kind"] in ("head", "reference") else row["of"])


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
    from ser_fusion.heads.model import load_model

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
    cards = row.get("stack") or alone(row, len(run.classes))
    stacks = {name: open_stack(one, run.path, str(row["slug"]), _names(run)) for name, one in cards.items()}
    by_seed, heads = row["kind"] == "ensemble", heads_of(row)
    frames = development_of(run, str(row["slug"]))
    temperatures = run.temperatures(heads if by_seed else str(row["slug"])) if calibrate else {}
    for folder, done in _folders(run.path, heads):
        if fold not in (None, str(done["fold"])) or seed not in (None, int(done["seed"])):
            continue
        card = read_record(folder / "head.json", Card)
        found = temperatures.get(str(done["fold"]))
        temperature = 1.0 if found is None else found.value
        members.append(
            Member(
                load_model(folder),
                str(done["fold"]),
                int(done["seed"]),
                temperature,
                dict(card.get("pad_to") or {}),
                stacks.get(str(done["fold"])),
            )
        )
    if row["kind"] == "reference" and seed in (None, 0):
        for name, stack in stacks.items():
            if fold in (None, name):
                found = temperatures.get(name)
                members.append(Member(None, name, 0, 1.0 if found is None else found.value, {}, stack))
    if not members:
        which = " and ".join(part for part in (fold and f"fold {fold}", seed is not None and f"seed {seed}") if part)
        have = sorted({f"fold {done['fold']} seed {done['seed']}" for _, done in _folders(run.path, heads)})
        raise NoModel(
            str(run.path), f"the row '{row['slug']}' has no head of {which}; it has {', '.join(have[:8])}", _names(run)
        )
    return Ensemble(
        slug=str(row["slug"]),
        name=str(row["name"]),
        streams=row_streams(run, str(row["slug"])),
        text_first_only=row.get("text_input") == "cls",
        uwa=development_uwa(run, str(row["slug"])),
        members=tuple(members),
        sure=_sure(frames, run.classes, members, by_seed),
        by_seed=by_seed,
        uncalibrated=not_applied(temperatures[m.fold] for m in members if m.fold in temperatures) if calibrate else RAW,
    )


def row_streams(run: RunDirectory, slug: str) -> tuple[str, ...]:
    """Streams that the heads of a row read."""
    row = next(one for one in run.run["rows"] if one["slug"] == slug)
    if row["kind"] == "reference":
        return tuple(row["streams"])
    folder, _ = _folders(run.path, heads_of(row))[0]
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
