"""One training of a run, the search for its settings, and the frames that it reads: plain data, picklable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.errors import RecordBroken
from ser_fusion.evaluation.records import Done, read_record
from ser_fusion.frames.features import StreamFrames, read_stream
from ser_fusion.runs.job import FuseJob, Row
from ser_fusion.runs.tuning.inner import Inner
from ser_fusion.study.context import previous_turns, with_context
from ser_fusion.study.extra_text import read_extra_text
from ser_fusion.study.open import Study
from ser_fusion.study.usable import groups_of
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

    def is_done(self, out: Path) -> bool:
        """Whether the run directory holds the finished result of exactly this training."""
        return self._done(out).get("fingerprint") == self.fingerprint

    def is_finished(self, out: Path) -> bool:
        """Whether it holds a result of this row, fold and seed on the same ground, perhaps by an older version."""
        done = self._done(out)
        same = (done.get("row"), done.get("fold"), done.get("seed")) == (self.row.slug, self.fold_name, self.seed)
        return same and done.get("ground", self.ground) == self.ground

    def _done(self, out: Path) -> dict[str, Any]:
        try:
            return read_record(out / self.folder / "done.json", Done)
        except RecordBroken:
            return {}


# The frames that a job trains on: stride, the text's first token only, normalised per speaker.
def names_of(study: Study, todo: Sequence[Task]) -> list[str]:
    """The streams that some of these trainings read."""
    return [name for name in study.streams if any(name in task.plan.streams for task in todo)]


def read_frames(
    job: FuseJob,
    study: Study,
    names: Sequence[str],
    allocate: Any = None,
    rows: NDArray[np.int64] | None = None,
) -> dict[str, StreamFrames]:
    """The frames of these streams as the job wants them: stride, CLS only, normalised per speaker or corpus.

    Args:
        job: What is asked.
        study: On what.
        names: Which streams.
        allocate: Where arrays come from; see ``read_stream``.
        rows: Rows of the study that are a sample, read without previous turns; None for all.

    Raises:
        NoReference: ``--norm speaker`` without speakers, or a speaker without neutral speech.
    """
    groups, reference = groups_of(study, job.norm)
    ids = list(study.table.index)
    more = list(read_extra_text(job.extra_text, study).ids) if job.extra_text else []
    extra = {} if allocate is None else {"allocate": allocate}
    before = previous_turns(study, job.context) if job.context and rows is None else None
    out = {}
    for name in names:
        kind: dict[str, Any] = {"stride": job.stride, "first_only": name == "text" and job.text_input == "cls"}
        entries = study.layers[name]
        frames = read_stream(
            entries,
            ids + more if name == "text" else ids,
            groups=groups,
            reference=reference,
            rows=rows,
            **kind,
            **extra,
        )
        if before is not None:
            frames = with_context(frames, entries, before, partial(read_stream, entries, **kind), **extra)
        out[name] = frames
    return out
