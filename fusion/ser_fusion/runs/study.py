"""The study of a job: from its options to utterances, folds and streams, before torch is loaded."""

from typing import TYPE_CHECKING, Any

from ser_fusion.heads import check_streams
from ser_fusion.study.open import Study, open_study
from ser_fusion.training.presets import STUDY_ROWS

if TYPE_CHECKING:
    from ser_fusion.runs.job import FuseJob


def study_options(job: Any) -> dict[str, Any]:
    """The arguments of ``open_study`` among the fields of a job."""
    names = (
        "labels", "protocol", "dev", "manifest", "folds", "allow_overlap", "drop_seen_text", "modalities", "layer", "audio_layer",
        "text_layer", "video_layer", "audio_encoder", "text_encoder", "video_encoder", "dtype",
        "task",
    )  # fmt: skip
    return {name: getattr(job, name) for name in names}


def open_job(job: "FuseJob") -> Study:
    """The study of a job, once the cache's records show that its heads have their streams; torch is not loaded.

    Raises:
        StreamMissing: A head needs a stream that the study does not hold.
        FusionError, CacheError, CorpusError: As ``open_study``.
    """
    study = open_study(job.cache, **study_options(job))
    heads = (row[0] for row in STUDY_ROWS.values()) if job.table == "study" else job.fusion
    check_streams(heads, tuple(study.streams))
    return study
