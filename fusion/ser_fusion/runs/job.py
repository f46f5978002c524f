"""What ``ser-fuse`` is asked to do: one frozen, checked description, and the rows of the table it stands for.

No torch and no pandas here: the command builds a job before it loads anything heavy.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from pydantic import field_validator, model_validator

from ser_base.errors import UnknownName
from ser_base.machine import check_part
from ser_base.options import spread
from ser_fusion.classifiers import CLASSIFIERS
from ser_fusion.heads import HEADS, check_streams, facts_of
from ser_fusion.poolings import POOLINGS
from ser_fusion.runs.options import FuseOptions
from ser_fusion.runs.tuning.space import check_space
from ser_fusion.training.presets import PRESETS, STUDY_ROWS

if TYPE_CHECKING:
    from ser_fusion.study.open import Study

# What may differ between two runs into one directory: more rows, more seeds, other machinery; never what a number means.
GROWS = (
    "audit_heads",
    "ensemble",
    "lost_streams",
    "stack",
    "table",
    "fusion",
    "classifier",
    "pooling",
    "preset",
    "text_pooling",
    "seeds",
    "train_fraction",
    "named_head",
)
MACHINERY = ("cache", "out", "workers", "runner", "ray_address", "ray_gpus", "part", "device", "save_attention")
# What --norm says in every row that used it; all but the first are transductive.
NORMS = {
    "train": "",
    "corpus": "features normalised per corpus by all speech of that corpus, the tested one included",
    "speaker": "features normalised per speaker by all speech of that speaker, test speakers included",
    "speaker-neutral": (
        "features normalised per speaker by the utterances of that speaker that are labelled neutral, tested ones included: "
        "reads test labels (neutral or not)"
    ),
}
JOINT = frozenset({"concat", "modality-stats"})  # poolings that single-stream heads leave to `stats` and `mean`


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the result table.

    Attributes:
        name: As printed.
        slug: As written in files and predictions; letters, digits, ``-+._``.
        fusion: Name of the head.
        pooling: Name of the pooling; None for heads that do not pool.
        text_pooling: ``cls`` for position 0 of the text after attention, else None.
        text_input: ``tokens`` or ``cls`` (the one token only).
        preset: Name of the preset.
        fraction: Share of the training speakers.
    """

    name: str
    slug: str
    fusion: str
    pooling: str | None
    text_pooling: str | None
    text_input: str
    preset: str
    fraction: float


class FuseJob(FuseOptions):
    """A table of heads to train: ``FuseOptions`` that fit together.

    ``encoder`` is taken apart into the fields of each stream when the job is made, and is None afterwards; so is what
    ``layer`` says about single streams.

    Examples:
        >>> from ser_fusion import FuseJob
        >>> job = FuseJob(cache="cache", out="results", fusion=("audio", "cross"), seeds=(0, 1, 2))
        >>> [row.slug for row in job.rows(("audio", "text"))]
        ['audio-stats', 'cross-stats']
    """

    @model_validator(mode="before")
    @classmethod
    def _of_any_version(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        job = in_todays_words(values)
        spread(job, "layer")
        spread(job, "encoder")
        return job

    @field_validator("seeds", "pooling", "preset", "train_fraction")
    @classmethod
    def _some_and_unique(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value:
            raise ValueError("Give at least one.")
        return tuple(dict.fromkeys(value))

    @field_validator("frame_dropout", "pool_dropout")
    @classmethod
    def _probabilities(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= p < 1 for p in value):
            raise ValueError("Dropout must be from 0 to below 1.")
        return value

    @model_validator(mode="after")
    def _length_fits(self) -> "FuseJob":
        lengths = {len(values) for values in (self.frame_dropout, self.pool_dropout) if len(values) > 1}
        if len(lengths) > 1:
            raise ValueError(
                "--frame-dropout and --pool-dropout are used in pairs. Give one value, or the same number of both."
            )
        stopping = self.early_stopping or any(PRESETS[name].training.patience is not None for name in self.preset)
        if self.patience is not None and not stopping:
            raise ValueError("--patience needs early stopping. Give --early-stopping as well.")
        return self

    @field_validator("train_fraction")
    @classmethod
    def _shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < f <= 1 for f in value):
            raise ValueError("A share of the training speakers must be above 0 and at most 1.")
        return value

    @field_validator("part")
    @classmethod
    def _one_of(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        return None if value is None else check_part(value)

    @field_validator("fusion", "classifier", "audit_heads")
    @classmethod
    def _unique(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _names_exist(self) -> "FuseJob":
        if not (self.fusion or self.classifier or self.table):
            raise ValueError("Give at least one head (--fusion) or classifier (--classifier).")
        tables: tuple[tuple[Mapping[str, Any], str, tuple[str, ...]], ...] = (
            (HEADS, "head", (*self.fusion, *self.audit_heads)),
            (CLASSIFIERS, "classifier", tuple(name for name in self.classifier if ":" not in name)),
            (POOLINGS, "pooling", self.pooling),
            (PRESETS, "preset", self.preset),
        )
        for catalog, kind, names in tables:
            for name in names:
                if name not in catalog:
                    raise UnknownName(kind, name, tuple(catalog))
        return self

    @model_validator(mode="after")
    def _extra_text_fits(self) -> "FuseJob":
        if self.extra_text is None:
            return self
        others = [(f"--norm {self.norm}", self.transductive), ("--context", bool(self.context))]
        others += [("--tune", bool(self.tune)), ("--targets votes", self.targets == "votes")]
        for name, used in others:
            if used:
                raise ValueError(
                    f"--extra-text cannot be used with {name}: extra text does not have speakers, dialogues or votes."
                )
        return self

    @field_validator("space")
    @classmethod
    def _searchable(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return check_space(value) if value else value

    @model_validator(mode="after")
    def _search_fits(self) -> "FuseJob":
        if self.space and not self.tune:
            raise ValueError("A search space needs a number of trials. Give --tune N as well.")
        if self.tune and max(len(self.frame_dropout), len(self.pool_dropout)) > 1:
            raise ValueError(
                "Several values of a dropout are a search of its own. Leave them out, or leave out --tune."
            )
        return self

    @model_validator(mode="after")
    def _context_fits(self) -> "FuseJob":
        if not self.context:
            return self
        padded = [name for name in self.preset if PRESETS[name].pad_seconds is not None]
        others = [
            ("--re-pair", self.re_pair),
            ("--extra-text", self.extra_text is not None),
            (f"--norm {self.norm}", self.transductive),
        ]
        others.append((f"--preset {', '.join(padded)}, which has no masks", bool(padded)))
        for name, used in others:
            if used:
                raise ValueError(f"--context cannot be used with {name}.")
        return self

    @property
    def transductive(self) -> bool:
        """Whether speech of the test part is used for normalisation."""
        return self.norm != "train"

    def shared(self) -> dict[str, Any]:
        """The part of the job that all runs into one directory must have in common."""
        return self.model_dump(mode="json", exclude={*GROWS, *MACHINERY})

    def rows(self, streams: tuple[str, ...]) -> tuple[Row, ...]:
        """The rows to train, in the table's order, without doubles.

        Args:
            streams: Streams of the study; the study's table leaves out what they cannot serve.
        """
        rows: dict[str, Row] = {}
        for preset, fraction in product(self.preset, self.train_fraction):
            for row in self._study(preset, fraction) if self.table else self._grid(preset, fraction):
                rows.setdefault(row.slug, row)
        return tuple(rows.values())

    def _study(self, preset: str, fraction: float) -> list[Row]:
        chosen = PRESETS[preset]
        pooling = {"single": chosen.single_statistical, "SP": chosen.statistical, "noSP": chosen.plain}
        rows = []
        for name, (fusion, kind, text_pooling) in STUDY_ROWS.items():
            pooled = pooling[kind] if facts_of(fusion).pools else None
            slug = re.sub(r"[^a-z0-9]+", "-", name.lower())
            rows.append(self._row(name, slug, fusion, pooled, text_pooling, preset, fraction))
        return rows

    def _grid(self, preset: str, fraction: float) -> list[Row]:
        text_pooling = "cls" if self.text_pooling == "cls" else None
        rows = []
        for fusion, pooling in product(self.fusion, self.pooling):
            head = facts_of(fusion)
            pooled = pooling if head.pools else None
            text = text_pooling if pooled and head.may_read("text") else None
            if head.single_stream and pooled in JOINT:
                pooled = {"concat": "mean", "modality-stats": "stats"}[pooling]
            slug = "-".join(part for part in (fusion, pooled, text and "textcls") if part)
            name = fusion if pooled in (None, "stats") and not text else slug
            rows.append(self._row(name, slug, fusion, pooled, text, preset, fraction))
        return rows

    def _row(
        self,
        name: str,
        slug: str,
        fusion: str,
        pooling: str | None,
        text_pooling: str | None,
        preset: str,
        fraction: float,
    ) -> Row:
        if self.text_input == "cls" and facts_of(fusion).may_read("text"):
            name, slug = f"{name} (CLS token only)", f"{slug}-clsonly"
        if preset != "corrected":
            name, slug = f"{name} ({preset})", f"{slug}-{preset}"
        if fraction < 1:
            name, slug = f"{name}, {fraction:.0%} of speakers", f"{slug}-{fraction:g}"
        return Row(
            name=name,
            slug=slug,
            fusion=fusion,
            pooling=pooling,
            text_pooling=text_pooling,
            text_input=self.text_input,
            preset=preset,
            fraction=fraction,
        )


# Jobs in ``run.json`` of earlier versions, in the words of this one: the same trainings, now asked for by options.
#
# Until dropout was split, a job had one ``dropout``, and the preset ``corrected`` meant: dropout .5 of everything, whole streams
# dropped with .3, no norm of pooled vectors, stopped early, not refitted. Until ``norm_first`` was a field, attention normalised
# what it gives.
_CORRECTED = {"frame_dropout": (0.5,), "pool_dropout": (0.5,), "pool_norm": "none", "early_stopping": True}
_STREAM_DROPOUT = 0.3
_GONE = ("trace_test",)  # looked at the test part every epoch and changed no result


def in_todays_words(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is given to ``FuseJob``, with the options that stand for what an earlier version did.

    Jobs of this version are returned as they are. An earlier job that has ``corrected`` beside other presets keeps its rows, but
    no options stand for all of its presets at once.
    """
    job = {name: value for name, value in values.items() if name not in _GONE}
    if {*_GONE, "refit"} <= set(values) or {"dropout", "refit"} <= set(values):
        job.setdefault("norm_first", False)
    if not {"dropout", "refit"} <= set(job):  # a job read from a file has every field
        return job
    dropout = tuple(job.pop("dropout"))
    if tuple(job.get("preset", ())) == ("corrected",):
        job |= _CORRECTED
        fusion = ("self",) if job.get("table") else job.get("fusion", ())
        if job.get("stream_dropout") is None and any(HEADS[name].drops_streams for name in fusion if name in HEADS):
            job["stream_dropout"] = _STREAM_DROPOUT
    if dropout:
        job |= {"frame_dropout": dropout, "pool_dropout": dropout, "pool_norm": "none"}
    return job


# The study of a job: from its options to utterances, folds and streams, before torch is loaded.
def study_options(job: Any) -> dict[str, Any]:
    """The arguments of ``open_study`` among the fields of a job."""
    names = (
        "labels", "protocol", "dev", "manifest", "folds", "folds_root", "allow_overlap", "drop_seen_text", "modalities", "layer",
        "audio_layer", "text_layer", "video_layer", "audio_encoder", "text_encoder", "video_encoder",
        "prosody_encoder", "dtype", "task",
    )  # fmt: skip
    return {name: getattr(job, name) for name in names}


def open_job(job: FuseJob) -> "Study":
    """The study of a job, once the cache's records show that its heads have their streams; torch is not loaded.

    Raises:
        StreamMissing: A head needs a stream that the study does not hold.
        FusionError, CacheError, CorpusError: As ``open_study``.
    """
    from ser_fusion.study.open import open_study

    study = open_study(job.cache, **study_options(job))
    heads = (row[0] for row in STUDY_ROWS.values()) if job.table == "study" else job.fusion
    check_streams(heads, tuple(study.streams))
    return study
