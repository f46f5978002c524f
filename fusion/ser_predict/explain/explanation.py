"""Explains one utterance by the heads of the fold that tested it, which have never learned from it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_base.errors import SerError, UnknownName
from ser_data.manifest.text import normalise
from ser_fusion.evaluation.records import Card, read_record
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.frames.features import StreamFrames
from ser_fusion.frames.feed import Feed
from ser_fusion.heads.model import load_model
from ser_fusion.runs.memory import asked_jobs
from ser_fusion.runs.planning import plan
from ser_fusion.runs.task import Task, read_frames
from ser_predict.errors import NotExplained
from ser_predict.explain.control import refusal, shuffled_head
from ser_predict.explain.shares import Member, interaction, shapley, subset_scores
from ser_predict.explain.tracks import Track, by_word, frame_contributions, token_spans
from ser_predict.models.runs import RunHeads
from ser_predict.recordings.streams import open_stream_encoder, places, specs_of

IS_NOT = (
    "This is not a cause of the emotion, and not what a listener heard or read. It says how these heads' score depends on "
    "their inputs. A frame of an encoder already knows its neighbours, so a word or a moment may carry what stands beside it."
)


@dataclass(frozen=True, slots=True)
class Shares:
    """What each stream contributes to the score of a class.

    Attributes:
        baseline: Score without any stream.
        streams: Stream -> Shapley value; with the baseline they add up to the score.
        interaction: What all streams say beyond the sum of what each says alone. Of two streams it is their Shapley
            interaction index.
    """

    baseline: float
    streams: dict[str, float]
    interaction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Explains the score of one class for one utterance.

    Attributes:
        id: The utterance.
        row: Row of the run whose heads are explained.
        fold: The fold that tested the utterance.
        label: Its label.
        predicted: The class with the highest score.
        target: The class that is explained.
        scores: Class -> score: calibrated logit less the mean over the classes.
        shares: Shares of the streams.
        control: Shares by a head that learned shuffled labels; None without a control.
        gap: How far the sum of the contributions along time is from the change that they explain, as a share of it.
        tracks: Contributions along time and words.
        notes: What a reader should know.
    """

    id: str
    row: str
    fold: str
    label: str
    predicted: str
    target: str
    scores: dict[str, float]
    shares: Shares
    control: Shares | None
    gap: float
    tracks: list[Track]
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        tracks = [asdict(track) | {"likeness": track.likeness, "strength": track.strength} for track in self.tracks]
        return asdict(self) | {"tracks": tracks, "is_not": IS_NOT}


class Explainer:
    """Opens a run once, and explains utterances of its test parts.

    Args:
        run: Run directory of ``ser fuse``.
        row: Row (slug or name) of heads; None: the best on development data.
        control: Train a head on shuffled labels for each fold that is asked, and show what it contributes.
        cache: Where the run's cache is now, if it was moved.
        text_encoder: Where the run's text encoder is, if its recorded name leads nowhere.
        steps: Points of the path of integrated gradients.

    Raises:
        NotARun, NotExplained, UnknownName: See their messages.
    """

    def __init__(
        self,
        run: Path,
        *,
        row: str | None = None,
        control: bool = True,
        cache: Path | None = None,
        text_encoder: str | None = None,
        steps: int = 32,
    ) -> None:
        self.run, heads = RunDirectory.open(run), RunHeads(run)
        self._control, self._steps, self._text_encoder, self._cache = control, steps, text_encoder, cache
        self.row = self._choose(heads, row)
        self._job, self._job_data, self._tasks = self._trainings(cache)
        self.study = self._job_data.study
        if self._job.context:
            raise NotExplained(str(run), "its heads read previous turns (--context)", "Train a run without --context.")
        self._temperatures = self.run.temperatures(self.row)
        self._members: dict[str, Member] = {}

    def _choose(self, heads: RunHeads, row: str | None) -> str:
        usable = [entry for entry in heads.rows if entry["kind"] == "head"]
        if not usable:
            raise NotExplained(str(self.run.path), "it has no trained heads", "Train some: ser fuse --fusion cross")
        if row is None:
            scores = {str(entry["slug"]): heads.uwa(str(entry["slug"])) for entry in usable}
            return max(scores, key=lambda slug: float(np.nan_to_num(scores[slug], nan=-1.0)))
        slugs = [str(entry["slug"]) for entry in usable if row in (entry["slug"], entry["name"])]
        if not slugs:
            raise UnknownName("row of heads", row, tuple(str(entry["slug"]) for entry in usable))
        return slugs[0]

    def _trainings(self, cache: Path | None) -> Any:
        facts: dict[str, Any] = self.run.run
        shared = facts["job"] | {"device": "cpu", "workers": 0, "out": str(self.run.path)}
        shared |= {"cache": str(cache)} if cache is not None else {}
        for job in reversed(asked_jobs(self.run.path, facts, shared)):
            job_data, _, todo, _ = plan(job)
            own = [task for task in todo if task.row.slug == self.row and task.is_finished(self.run.path)]
            if own:
                return job, job_data, own
        remedy = "Give its cache as it was: --cache DIR"
        raise NotExplained(str(self.run.path), f"the trainings of the row '{self.row}' do not fit its cache", remedy)

    @cached_property
    def belief(self) -> "pd.DataFrame":
        """Sorts tested utterances by how much the row's heads believe in their label, least first: ``label``, ``belief``."""
        tested = self.run.of_row(self.row)
        values = tested[[f"p_{name}" for name in self.study.classes]].to_numpy(dtype=np.float64)
        truth = values[np.arange(len(tested)), [self.study.classes.index(str(label)) for label in tested["label"]]]
        judged = (
            tested[["id", "label"]]
            .assign(belief=truth)
            .groupby("id")
            .agg(label=("label", "first"), belief=("belief", "mean"))
        )
        return judged.sort_values("belief", kind="stable")

    def explain(self, name: str, target: str | None = None) -> Explanation:
        """Explains an utterance.

        Args:
            name: Its id.
            target: The class; None for the predicted one.

        Raises:
            UnknownName: No such utterance or class.
            NotExplained: It is in no test part.
        """
        ids, classes = list(self.study.table.index), list(self.study.classes)
        if name not in self.study.table.index:
            raise UnknownName("utterance", name, tuple(ids))
        if target is not None and target not in classes:
            raise UnknownName("class", target, tuple(classes))
        row = ids.index(name)
        tested = [task for task in self._tasks if row in task.parts["test"]]
        if not tested:
            problem = f"{name} is in no test part of the row '{self.row}', so every head has learned from it or none has seen it"
            raise NotExplained(str(self.run.path), problem, "Give an utterance of predictions.parquet.")
        tasks = [task for task in tested if task.fold == tested[0].fold]
        streams, members = self._frames(row), [self._member(task) for task in tasks]
        by_subset = subset_scores(members, streams, row)
        scores = by_subset[frozenset(members[0].model.streams)]
        number = int(scores.argmax()) if target is None else classes.index(target)
        batch = Feed(streams, members[0].model.streams, pad_to=members[0].pad_to).batch(np.array([row]))
        frames, gap = frame_contributions(members, batch, number, self._steps)
        notes: list[str] = []
        control: Shares | None = None
        blind: Mapping[str, NDArray[np.float64]] = {}
        if self._control and (problem := refusal(tasks[0])):
            notes.append(f"A control with shuffled labels is missing: {problem}.")
        elif self._control:
            shuffled = self._shuffled(tasks[0], streams)
            control = _shares(subset_scores([shuffled], streams, row), number)
            blind, _ = frame_contributions([shuffled], batch, number, self._steps)
        return Explanation(
            id=name,
            row=self.row,
            fold=tasks[0].fold_name,
            label=str(classes[self.study.targets[row]]),
            predicted=str(classes[int(scores.argmax())]),
            target=str(classes[number]),
            scores=dict(zip(map(str, classes), scores.tolist(), strict=True)),
            shares=_shares(by_subset, number),
            control=control,
            gap=gap,
            tracks=list(self._tracks(name, streams, frames, blind, notes)),
            notes=notes,
        )

    @cached_property
    def _whole(self) -> dict[str, StreamFrames]:
        return read_frames(self._job, self.study, self._tasks[0].plan.streams)

    def _frames(self, row: int) -> dict[str, StreamFrames]:
        """Reads frames of the utterance alone, or of all where a control or a norm needs them."""
        if self._control or self._job.norm != "train":
            return self._whole
        return read_frames(self._job, self.study, self._tasks[0].plan.streams, rows=np.array([row]))

    def _member(self, task: Task) -> Member:
        if task.folder not in self._members:
            folder = self.run.path / task.folder
            temperature = self._temperatures.get(task.fold_name)
            pad_to = dict(read_record(folder / "head.json", Card).get("pad_to") or {})
            value = temperature.value if temperature else 1.0
            self._members[task.folder] = Member(load_model(folder).double(), value, pad_to)
        return self._members[task.folder]

    def _shuffled(self, task: Task, streams: Mapping[str, StreamFrames]) -> Member:
        if task.fingerprint not in self._members:
            self._members[task.fingerprint] = shuffled_head(task, self._job_data, streams, self.run.path)
        return self._members[task.fingerprint]

    def _tracks(
        self,
        name: str,
        streams: Mapping[str, StreamFrames],
        frames: Mapping[str, NDArray[np.float64]],
        control: Mapping[str, NDArray[np.float64]],
        notes: list[str],
    ) -> Iterator[Track]:
        for stream, values in frames.items():
            blind = control.get(stream, np.zeros(0))
            rate = streams[stream].frame_rate
            if rate is not None:
                yield Track(stream, [k / rate for k in range(len(values))], values.tolist(), blind.tolist())
            elif stream == "text":
                yield self._words(name, values, blind, notes)
            else:
                yield Track(stream, [stream], [float(values.sum())], [float(blind.sum())] if len(blind) else [])

    def _words(self, name: str, values: NDArray[np.float64], blind: NDArray[np.float64], notes: list[str]) -> Track:
        text = normalise(str(self.study.table.loc[name, "text"] or ""))
        both = np.stack([values, blind if len(blind) else np.zeros_like(values)], axis=1)
        source, problem = self._text_source
        spans: Sequence[tuple[int, int]] = token_spans(source, text) if source is not None else ()
        if source is not None and len(spans) != len(values):
            problem = "the text went through the encoder in windows or as one token"
        if problem:
            notes.append(f"Tokens are not joined to words: {problem}. Say where it is with --encoder text=DIR.")
            words = [(f"token {n}", pair) for n, pair in enumerate(both)]
        else:
            words = by_word(text, spans, both)
        names, totals = [word for word, _ in words], np.array([total for _, total in words]).reshape(-1, 2)
        return Track("text", names, totals[:, 0].tolist(), totals[:, 1].tolist() if len(blind) else [])

    @cached_property
    def _text_source(self) -> tuple[Any, str]:
        """Opens the text encoder's files; else None and why they are not at hand."""
        specs = specs_of(self.run.run, self.run.path, self._cache)["text"]
        locations = [self._text_encoder] if self._text_encoder else places("text", specs[0], self.run.run, self._cache)
        try:
            source = open_stream_encoder("text", specs, locations, device="cpu", offline=True).encoder.source
            token_spans(source, "")
        except (SerError, ImportError, NotImplementedError) as error:
            return None, f"the run's text encoder is not at hand ({str(error).splitlines()[0]})"
        return source, ""


def _shares(by_subset: Mapping[frozenset[str], NDArray[np.float64]], number: int) -> Shares:
    streams = {stream: float(value[number]) for stream, value in shapley(by_subset).items()}
    return Shares(float(by_subset[frozenset()][number]), streams, float(interaction(by_subset)[number]))
