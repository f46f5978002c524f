"""What trainings learn from beside the class numbers of a study: votes, and turns that may train and are never scored.

The turns stand behind the study's own rows, with class -1, and only ever in training parts. Folds that keep the test part or the
development part apart by some key (speaker, session, scenario, corpus, ...) keep doing so: see ``Separation.joining``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xxhash
from numpy.typing import NDArray

from ser_fusion.frames.features import StreamFrames
from ser_fusion.runs.job import FuseJob
from ser_fusion.study.context import turns_behind
from ser_fusion.study.extra_text import lines_behind
from ser_fusion.study.open import Study
from ser_fusion.study.separation import Separation
from ser_fusion.study.usable import RatingsMissing, dimensions_of, ratings_of
from ser_fusion.training.losses.votes import read_votes
from ser_fusion.training.plan import TrainingData

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobData:
    """The data that the trainings of a job read.

    Attributes:
        study: The study; with further rows of class -1 behind its own where turns without a class may train.
        scored: How many rows are the study's own.
        apart: What keeps all these rows apart, and those that streams hold behind them.
        votes: Class distribution per row, (rows, classes) float32, or None.
        dimensions: Which ratings are learned.
        ratings: Their values per row, (rows, dimensions) float32, NaN where there is none; or None.
        notes: What a reader of results must know.
    """

    study: "Study"
    scored: int
    apart: Separation
    votes: NDArray[np.float32] | None = None
    dimensions: tuple[str, ...] = ()
    ratings: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()

    def data(self, streams: Mapping[str, StreamFrames]) -> TrainingData:
        """What trainings are given, with these frames."""
        study, more = self.study, {"votes": self.votes, "ratings": self.ratings, "apart": self.apart}
        return TrainingData(streams, study.targets, list(study.table.index), study.classes, **more)  # type: ignore[arg-type]

    @property
    def fingerprint(self) -> str:
        """xxh3-128 of what is learned from beside the study; empty if nothing is."""
        arrays = [values for values in (self.votes, self.ratings) if values is not None]
        if not arrays:
            return ""
        digest = xxhash.xxh3_128(str(self.dimensions).encode())
        for values in arrays:
            digest.update(values.tobytes())
        digest.update("\0".join(self.study.table.index[self.scored :]).encode())
        return digest.hexdigest()

    def joining(self, parts: Mapping[str, Rows], fraction: float = 1.0) -> Rows:
        """Rows without a class that may train in a fold.

        Args:
            parts: ``train``, ``dev``, ``test`` of the study's own rows.
            fraction: Share of the training speakers; below 1 only turns of speakers that train are taken.
        """
        more = np.arange(self.scored, len(self.study.table), dtype=np.int64)
        more = self.apart.joining(parts, more)
        if fraction >= 1:
            return more
        speakers = self.study.table["speaker"]
        return more[speakers.iloc[more].isin(speakers.iloc[parts["train"]].dropna()).to_numpy()]


def job_data_of(job: "FuseJob", study: "Study", *, labels: str | None, manifest: object = None) -> JobData:
    """What the trainings of a job read.

    Args:
        job: The job.
        study: The study.
        labels: The job's label scheme, as for ``open_study``.
        manifest: The job's manifest, as for ``open_study``.

    Raises:
        LeverImpossible: ``--targets votes`` where there are none.
        RatingsMissing: ``--vad-weight`` or ``--task vad`` where there are none.
    """
    voted = _voted(job, study, labels, manifest)
    if not (job.vad_weight or job.task == "vad"):
        return voted
    dimensions = dimensions_of(study.table)
    if not dimensions:
        raise RatingsMissing("--vad-weight", study.info.name, len(study.table))
    return replace(voted, dimensions=dimensions, ratings=ratings_of(voted.study.table, dimensions))


def _voted(job: "FuseJob", study: "Study", labels: str | None, manifest: object) -> JobData:
    """The study, with votes and with turns that only they make usable."""
    if job.targets == "majority":
        return JobData(study=study, scored=len(study.table), apart=_apart(job, study, len(study.table)))
    from ser_cache import open_cache
    from ser_data.manifest.labels import resolve_scheme
    from ser_fusion.study.open import read_manifest

    source = read_manifest(open_cache(study.cache), study.cache, manifest)  # type: ignore[arg-type]
    scheme = resolve_scheme(labels, source)
    votes = read_votes(source.table, scheme, study.classes, list(study.table.index), study.targets)
    entries = [entry for layers in study.layers.values() for entry in layers]
    extracted = np.array([all(name in entry for entry in entries) for name in votes.more], dtype=bool)
    ids = [name for name, there in zip(votes.more, extracted, strict=True) if there]
    more = source.table.set_index("id", drop=False).loc[ids].assign(target=-1)
    more.index.name = None
    wider = replace(study, table=pd.concat([study.table, more]) if ids else study.table)
    notes = [f"targets are votes; {len(ids):,} turns without a majority may train by theirs, and are never scored"]
    if not extracted.all():
        notes.append(f"{int((~extracted).sum()):,} further turns without a majority are not in the cache")
    if votes.unvoted:
        notes.append(f"{votes.unvoted:,} utterances have no vote for any class and keep their label")
    shares = np.concatenate([votes.own, votes.others[extracted]])
    scored = len(study.table)
    return JobData(study=wider, scored=scored, apart=_apart(job, wider, scored), votes=shares, notes=tuple(notes))


def _apart(job: "FuseJob", study: "Study", scored: int) -> Separation:
    """What keeps apart the rows of a study and those that its streams hold behind them."""
    behind = turns_behind(study, job.context) if job.context else None
    if job.extra_text:
        behind = lines_behind(job.extra_text, study)
    return Separation.of(study.table, study.folds.held_out, scored, behind)
