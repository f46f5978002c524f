"""The frames that a job trains on: stride, the text's first token only, normalised per speaker."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ser_fusion.context import previous_turns, with_context
from ser_fusion.errors import FusionError
from ser_fusion.extra_text import read_extra_text
from ser_fusion.features import StreamFrames, read_stream
from ser_fusion.job import FuseJob
from ser_fusion.planning import Task
from ser_fusion.study import Study


def names_of(study: Study, todo: Sequence[Task]) -> list[str]:
    """The streams that some of these trainings read."""
    return [name for name in study.streams if any(name in task.plan.streams for task in todo)]


def read_frames(job: FuseJob, study: Study, names: Sequence[str], allocate: Any = None) -> dict[str, StreamFrames]:
    """The frames of these streams as the job wants them: stride, CLS only, normalised per speaker or corpus.

    Raises:
        FusionError: ``--norm speaker`` without speakers, or a speaker without neutral speech.
    """
    groups, reference = _speakers(job, study)
    ids = list(study.table.index)
    more = list(read_extra_text(job.extra_text, study).ids) if job.extra_text else []
    extra = {} if allocate is None else {"allocate": allocate}
    before = previous_turns(study, job.context) if job.context else None
    out = {}
    for name in names:
        kind: dict[str, Any] = {"stride": job.stride, "first_only": name == "text" and job.text_input == "cls"}
        entries = study.layers[name]
        frames = read_stream(
            entries, ids + more if name == "text" else ids, groups=groups, reference=reference, **kind, **extra
        )
        if before is not None:
            frames = with_context(frames, entries, before, partial(read_stream, entries, **kind), **extra)
        out[name] = frames
    return out


class NoReference(FusionError, ValueError):
    """Speakers cannot be normalised by their own speech."""

    def __init__(self, norm: str, problem: str) -> None:
        super().__init__(norm, problem)
        self.norm, self.problem = norm, problem

    def __str__(self) -> str:
        return f"--norm {self.norm} is not possible: {self.problem}.\nUse --norm train, or correct the manifest."


def _speakers(job: FuseJob, study: Study) -> tuple[Any, Any]:
    if job.norm == "train":
        return None, None
    if job.norm == "corpus":
        return np.unique(study.table["corpus"].to_numpy().astype(str), return_inverse=True)[1].astype(np.int64), None
    speakers = study.table["speaker"]
    if speakers.isna().any():
        raise NoReference(job.norm, f"{int(speakers.isna().sum()):,} utterances have no speaker")
    names, groups = np.unique(speakers.to_numpy().astype(str), return_inverse=True)
    if job.norm == "speaker":
        return groups.astype(np.int64), None
    neutral = next((name for name in study.classes if name.lower().startswith("neu")), None)
    if neutral is None:
        raise NoReference(job.norm, f"no class is called neutral; classes are {', '.join(study.classes)}")
    reference = (study.targets == study.classes.index(neutral)) & True
    lacking = [str(name) for n, name in enumerate(names) if not (reference & (groups == n)).any()]
    if lacking:
        raise NoReference(job.norm, f"{len(lacking)} speakers have no neutral utterance: {', '.join(lacking[:3])}")
    return groups.astype(np.int64), reference
