"""The JSON records of a run directory, one model for each: what must be there, of which type, within which bounds.

A record may come from anybody. It is read with ``read_record``, which gives the record as it is in the file once its model
has accepted it, and one sentence otherwise. Fields that a model does not name are kept and not looked at.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ser_fusion.errors import RecordBroken, RecordMissing

LARGEST = 1 << 24
"""Greatest size of anything in a head."""


def _inside(slug: str) -> str:
    if re.search(r"[/\\\x00-\x1f]", slug) or slug.startswith("."):
        raise ValueError("a row's slug names a folder of the run itself")
    return slug


Slug = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_inside)]
Size = Annotated[int, Field(ge=1, le=LARGEST)]
Number = float | None
Scores = dict[str, Number]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""The name of a stored probe: it becomes a file's name."""


class Record(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(extra="allow", strict=True)


class Expert(Record):
    """A probe of a stack."""

    streams: Annotated[list[str], Field(min_length=1)]
    pooling: Literal["mean", "stats"]
    fit: Key


class StackCard(Record):
    """A fold's stack: ``ser_fusion.evaluation.stacking``."""

    weights: Annotated[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(min_length=1)]
    log_prior: list[Annotated[float, Field(allow_inf_nan=False)]]
    probes: Annotated[list[Expert], Field(min_length=1)]
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0


class Row(Record):
    """A row of the table, in ``run.json``."""

    name: str
    slug: Slug
    kind: str
    fusion: str | None = None
    pooling: str | None = None
    preset: str | None = None
    text_pooling: str | None = None
    text_input: str | None = None
    fraction: Number = None
    parameters: int | None = None
    transductive: bool | None = None
    departures: list[str] = []
    note: str | None = None
    of: Slug | list[Slug] | None = None
    streams: list[str] = []
    fits: dict[str, Key] | None = None
    stack: dict[str, StackCard] | None = None
    kept: list[str] = []


class Spec(Record):
    """What one layer's features were computed from; ``ser_cache.EntrySpec`` checks the values."""

    modality: str
    encoder: str
    layer: Annotated[int, Field(ge=0, lt=10_000)]
    dtype: str
    features: Size
    frame_rate: Number
    declared: dict[str, Any]


class Stream(Record):
    """One stream of a run."""

    encoder: str
    dtype: str | None = None
    layer: int | None = None
    layers: list[int] = []
    specs: Annotated[list[Spec], Field(min_length=1)] | None = None
    frame_rate: Number = None


class Cache(Record):
    """Where a run's features came from."""

    path: str | None = None
    entries: dict[str, Stream] = {}


class Corpus(Record):
    """What is known of a run's corpus."""

    name: str | None = None
    title: str | None = None
    synthetic: bool | None = None
    licence: str | None = None
    citation: str | None = None
    transcripts: str | None = None


class Job(Record):
    """Of a run's settings only what is read without making a job of them again; ``FuseJob`` checks the rest."""

    context: Annotated[int, Field(ge=0, le=10_000)] | None = None
    named_head: str | None = None


class Asked(Record):
    """A command that was run into the directory."""

    time: str | None = None
    command: str | None = None
    job: Job


class Pair(Record):
    """A declared comparison."""

    a: Slug
    b: Slug
    time: str | None = None


class Declared(Record):
    """The first declaration of a run directory."""

    named_head: str
    primary: list[Pair] = []
    time: str | None = None


class Run(Record):
    """``run.json``."""

    format: Literal[1]
    classes: Annotated[list[str], Field(min_length=1)]
    protocol: str
    folds_fingerprint: str
    corpus: Corpus
    rows: list[Row]
    job: Job = Job()
    asked: list[Asked] = []
    declared: Declared | None = None
    cache: Cache = Cache()
    dev: str | None = None
    held_out: list[str] | str | None = None
    labels: str | None = None
    data_fingerprint: str | None = None
    counts: dict[str, Any] = {}
    seeds: list[int] = []
    stride: Size | None = None
    epochs: int | None = None
    norm: str | None = None
    notes: list[str] = []
    command: str | None = None
    environment: dict[str, str | int | float | None] = {}
    seconds: Number = None


class Started(Record):
    """``run.json`` of any task, as far as it is needed to go on with the run or to repeat it."""

    job: dict[str, Any]
    rows: list[Row] = []
    asked: list[Asked] = []
    declared: Declared | None = None
    command: str | None = None
    classes: list[str] = []
    data_fingerprint: str | None = None
    folds_fingerprint: str | None = None


class Done(Record):
    """``done.json``: a finished training."""

    fingerprint: str
    fold: str
    seed: int
    row: Slug | None = None
    parameters: int | None = None


class Card(Record):
    """``head.json``, or the card of an exported head: how a head is built."""

    fusion: str
    dims: Annotated[dict[str, Size], Field(min_length=1)]
    layers: dict[str, Annotated[int, Field(ge=1, le=10_000)]]
    classes: Size
    shape: dict[str, Any]
    normalise: bool
    context: Annotated[int, Field(ge=0, le=10_000)] = 0
    ratings: Annotated[int, Field(ge=0, le=10_000)] = 0
    pad_to: dict[str, Size] | None = None
    layer_weights: dict[str, list[float]] = {}


class Member(Record):
    """One head of an exported row."""

    fold: str
    seed: int
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    pad_to: dict[str, Size]
    card: Card | None


class Scored(Record):
    """A metric of a row: pooled over folds, with its interval."""

    pooled: Number
    mean: Number = None
    low: Number = None
    high: Number = None


class JudgedRow(Record):
    """A row of ``metrics.json``."""

    slug: Slug
    metrics: dict[str, Scored]


class Judged(Record):
    """The part of ``metrics.json`` that is read without computing it again."""

    format: Literal[1]
    rows: list[JudgedRow]
    comparisons: list[dict[str, Any]]
    unit: dict[str, Any]


class ExportedRow(Record):
    """A row of an export."""

    slug: Slug
    name: str
    streams: Annotated[list[str], Field(min_length=1)]
    text_input: str | None = None
    transductive: bool | None = None
    uwa: Number = None
    scores: dict[str, Scored] | None = None
    uncalibrated: str = ""
    by_seed: bool = False
    stacks: dict[str, StackCard] = {}
    members: list[Member]


class Export(Record):
    """``config.json`` of ``ser export --hub``."""

    format: Literal[1]
    classes: Annotated[list[str], Field(min_length=1)]
    rows: list[ExportedRow]
    corpus: Corpus
    protocol: str
    main: str | None = None
    durations: list[float] = []
    cache: Cache = Cache()
    held_out: list[str] | str | None = None
    stride: Size | None = None
    leaks: list[str] = []


class Against(Record):
    """The best trivial predictor, and how far a row is above it."""

    name: str
    difference: Number
    p: Number


class Audited(Record):
    """Scores of a row under one protocol."""

    WA: Number
    UWA: Number
    WF1: Number
    UWF1: Number
    low: Number = None
    high: Number = None
    against: Against | None = None


class AuditRow(Record):
    """A row of a leak audit: protocol -> scores."""

    slug: str
    name: str
    kind: str
    scores: dict[str, Audited]


class Audit(Record):
    """``audit.json``."""

    protocols: list[str]
    classes: list[str]
    rows: list[AuditRow]
    skipped: dict[str, str] = {}
    overlap: Scores = {}
    words: list[str] = []
    n: int


class BesideRow(Record):
    """A row of ratings."""

    slug: str
    name: str
    kind: str
    note: str | None = None
    scores: dict[str, dict[str, dict[str, Any]]]


class Beside(Record):
    """``vad.json``: scores of ratings that were learned beside the classes."""

    dimensions: list[str]
    rows: list[BesideRow]


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        RecordBroken: It is not there, cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordMissing(str(path)) from None
    except RecursionError:
        raise RecordBroken(str(path), "it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise RecordBroken(str(path), f"it cannot be read ({error})") from None


def read_record(path: Path, model: type[Record]) -> dict[str, Any]:
    """A record as it is in the file, accepted by its model.

    Raises:
        RecordBroken: It is not there, is not JSON, or a field is missing or of the wrong type.
    """
    return check(read_json(path), model, path)


def check(value: Any, model: type[Record], path: Path) -> dict[str, Any]:
    """A record that was read already.

    Raises:
        RecordBroken: A field is missing, of the wrong type or out of bounds.
    """
    try:
        model.model_validate(value)
    except ValidationError as error:
        raise RecordBroken(str(path), first_fault(error)) from None
    except RecursionError:
        raise RecordBroken(str(path), "it is nested too deeply") from None
    record: dict[str, Any] = value
    return record


def first_fault(error: ValidationError) -> str:
    """The first fault in words: where it is, what was read, and what was expected."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{place} is missing"
    got = json.dumps(first["input"], default=str, ensure_ascii=True)[:60] if place else ""
    return f"{place} is {got}: {first['msg']}" if place else first["msg"]
