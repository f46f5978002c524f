"""The frames that a job trains on: stride, the text's first token only, normalised per speaker."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ser_fusion.frames.features import StreamFrames, read_stream
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.task import Task
from ser_fusion.study.context import previous_turns, with_context
from ser_fusion.study.extra_text import read_extra_text
from ser_fusion.study.norm import groups_of
from ser_fusion.study.open import Study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def names_of(study: Study, todo: Sequence[Task]) -> list[str]:
    """The streams that some of these trainings read."""
    return [name for name in study.streams if any(name in task.plan.streams for task in todo)]


def read_frames(
    job: FuseJob,
    study: Study,
    names: Sequence[str],
    allocate: Any = None,
    rows: "NDArray[np.int64] | None" = None,
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
