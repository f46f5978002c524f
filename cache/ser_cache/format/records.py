"""The records of a cache, field by field: what a sealed record must hold before anything in it is used.

A seal proves that a record is what somebody wrote, not that it makes sense. Types are strict: no text for a number, no number
for a truth. Members that are not named here are ignored, as the format says.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationError

from ser_cache.errors import Damaged
from ser_cache.words import visible

DEPTH = 64
"""How deep declared inputs and environments may be nested."""


def _shallow(value: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [value]
    for _ in range(DEPTH):
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
        level = [each for each in level if isinstance(each, dict | list)]
        if not level:
            return value
    raise ValueError(f"it is nested more than {DEPTH} deep")


Count = Annotated[int, Field(ge=0, lt=2**48)]
Sum = Annotated[int, Field(ge=0, lt=2**32)]
Hash = Annotated[str, Field(pattern=r"\A[0-9a-f]{32}\z")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Tree = Annotated[dict[str, Any], AfterValidator(_shallow)]
Sized = Annotated[tuple[Annotated[Count, Strict()], Annotated[Hash, Strict()]], Strict(False)]


class Record(BaseModel):
    """What all have in common."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class FormatRecord(Record):
    """``format.json``."""

    format: str
    version: int
    witnesses: bool = False


class SpecRecord(Record):
    """The spec of an entry; see `ser_cache.format.spec.EntrySpec`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    modality: str
    encoder: str
    layer: int
    dtype: str
    features: int
    frame_rate: float | None
    declared: Tree


class EntryRecord(Record):
    """``entry.json``."""

    kind: Literal["entry"]
    fingerprint: Hash
    spec: SpecRecord


class ShardRecord(Record):
    """A shard of a plan."""

    ids: list[str]
    input_hashes: list[str]
    cost: list[Seconds]
    frames: list[Count | None]


class PlanRecord(Record):
    """``plans/NNNN.json``."""

    kind: Literal["plan"]
    generation: Count
    fingerprint: Hash
    spec: SpecRecord
    recipe: str | None
    shard_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    shards: list[ShardRecord]
    resolves: dict[str, str]


class FailureRecord(Record):
    """Why an utterance has no row."""

    reason: str
    detail: str
    input_hash: str


class CommitRecord(Record):
    """``commits/GENERATION/SHARD-REVISION.json``."""

    kind: Literal["commit"]
    generation: Count
    shard: Count
    revision: Count
    fingerprint: Hash
    container: str | None
    path: str | None
    dtype: Literal["float16", "float32"]
    features: Annotated[int, Field(ge=1, lt=2**24)]
    ids: list[str]
    input_hashes: list[str]
    frames: list[Count]
    crc32c: list[Sum]
    special_crc32c: Sum | None
    files: dict[str, Sized]
    failures: dict[str, FailureRecord]
    left_out: list[str]
    environment: Tree
    recipe: str | None


class WithdrawalRecord(Record):
    """``withdrawn/NNNN.json``."""

    kind: Literal["withdrawal"]
    number: Count
    action: Literal["withdraw", "admit"]
    ids: list[str]


R = TypeVar("R", bound=Record)


def checked(kind: type[R], record: Any, where: str) -> R:
    """The fields of a record; raises Damaged with the first field that is missing or wrong, and what was found."""
    try:
        return kind.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"])
        found = repr(first["input"])[:60] if first["type"] != "missing" else "nothing"
        problem = f"field {place}: {first['msg'][:100]}; found {found}"
    except (OverflowError, RecursionError, UnicodeError) as error:
        problem = f"a field cannot be used ({error})"
    raise Damaged(where, visible(problem))
