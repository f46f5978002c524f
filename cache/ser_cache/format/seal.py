"""Checksums of files and rows, and records that carry their own: what a record must hold before anything in it is used.

A record is plain JSON on one line whose last member is ``"xxh3_128"``: the hash of all bytes in front of ``,"xxh3_128"``. Any
JSON reader can open it; a flipped bit, a cut tail or an edit by hand is noticed. The seal proves that a record is what somebody
wrote, not that it makes sense, so its fields are checked as well. Types are strict: no text for a number, no number for a truth.
Members that are not named here are ignored, as the format says.
"""

import contextlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import google_crc32c
import numpy as np
import xxhash
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationError

from ser_base.safe_text import visible
from ser_cache.errors import CacheError, Damaged, NotACache, Unsafe, UnsupportedFormat
from ser_cache.format.layout import FORMAT_NAME
from ser_cache.format.spec import SCHEMA, EntrySpec

BLOCK = 512 << 10  # bytes that are read at once: still in a core's own cache when the sums are taken


def hash_file(path: Path) -> str:
    """xxh3-128 of a file, 32 hex digits; read in blocks of 512 kB."""
    with open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size <= BLOCK:
            return xxhash.xxh3_128(file.readall()).hexdigest()
    return hash_rows(path, 0, ())[0]


def hash_rows(path: Path, start: int, sizes: Iterable[int]) -> tuple[str, list[int]]:
    """xxh3-128 of a file, and CRC-32C of each of the rows that lie in it one behind the other; the file is read once.

    Args:
        path: the file.
        start: byte at which the first row begins.
        sizes: bytes of each row.
    """
    digest, crcs = xxhash.xxh3_128(), []
    buffer = np.empty(BLOCK, np.uint8)
    with open(path, "rb", buffering=0) as file:
        for rows in _groups(start, sizes):
            size = sum(rows) if rows is not None else BLOCK
            buffer = buffer if size <= len(buffer) else np.empty(size, np.uint8)
            got = 0
            while got < size and (count := file.readinto(buffer[got:size])):  # type: ignore[arg-type]
                got += count
            digest.update(buffer[:got].data)
            at = 0
            for row in rows or ():
                crcs.append(google_crc32c.value(buffer[at : min(at + row, got)]))
                at += row
            if rows is None and got < size:
                break
    return digest.hexdigest(), crcs[1:]


def _groups(start: int, sizes: Iterable[int]) -> Iterator[list[int] | None]:
    """Sizes of parts that are read together, about a block each; what is before the rows is the first, then None for ever."""
    group, held = [start], start
    for size in sizes:
        if held + size > BLOCK and group:
            yield group
            group, held = [], 0
        group.append(size)
        held += size
    yield group
    while True:
        yield None


LIMIT = 1 << 30  # bytes; a plan of a million utterances has about 100 MB
_SCHEMA = f'{{"schema":{SCHEMA},'.encode()
_MARK = b',"xxh3_128":"'
_TAIL = len(_MARK) + 32 + len(b'"}\n')


def seal(record: dict[str, Any]) -> bytes:
    """Bytes of a record with its checksum; the schema version is put in front."""
    text = json.dumps({"schema": SCHEMA, **record}, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    body = text.encode()[:-1]
    return body + _MARK + xxhash.xxh3_128(body).hexdigest().encode() + b'"}\n'


def read_bytes(path: Path, limit: int = LIMIT) -> bytes:
    """Bytes of a regular file; links, devices and files beyond ``limit`` bytes are refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        if path.is_symlink():
            raise Unsafe(str(path), "it is a symbolic link") from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unsafe(str(path), "it is not a regular file")
        if status.st_size > limit:
            raise Unsafe(str(path), f"it has {status.st_size:,} bytes, more than {limit:,}")
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.readall()
    finally:
        os.close(descriptor)


def _body(data: bytes, where: str) -> bytes:
    """What the seal covers; raises Damaged where the seal is missing or does not fit."""
    body, tail = data[:-_TAIL], data[-_TAIL:]
    if len(data) <= _TAIL or not tail.startswith(_MARK) or not tail.endswith(b'"}\n'):
        raise Damaged(where, f"its checksum is missing ({len(data):,} bytes)")
    if tail[len(_MARK) : -3].decode("ascii", "replace") != xxhash.xxh3_128(body).hexdigest():
        raise Damaged(where, "its checksum does not fit its content")
    return body


def unseal(data: bytes, where: str) -> dict[str, Any]:
    """The record in ``data``; raises Damaged or UnsupportedFormat, never anything else."""
    body = _body(data, where)
    try:
        record = json.loads(body + b"}")
    except (ValueError, RecursionError) as error:
        raise Damaged(where, f"it is not JSON ({error})") from error
    if not isinstance(record, dict):
        raise Damaged(where, "it is not a JSON object")
    if record.get("schema") != SCHEMA:
        raise UnsupportedFormat(where, record.get("schema"), SCHEMA)
    return record


DEPTH = 64
"""How deep declared inputs and environments may be nested."""


def shallow(value: dict[str, Any]) -> dict[str, Any]:
    """The value; raises ValueError where it is nested too deep."""
    level: list[Any] = [value]
    for _ in range(DEPTH):
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
        level = [each for each in level if isinstance(each, dict | list)]
        if not level:
            return value
    raise ValueError(f"it is nested more than {DEPTH} deep")


T = TypeVar("T")
Count = Annotated[int, Field(ge=0, lt=2**48)]
Sum = Annotated[int, Field(ge=0, lt=2**32)]
Hash = Annotated[str, Field(pattern=r"\A[0-9a-f]{32}\z")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Tree = Annotated[dict[str, Any], AfterValidator(shallow)]
Parallel = Annotated[list[T], Strict(False)]
"""A list; tuples may be given."""
Sized = Annotated[tuple[Annotated[Count, Strict()], Annotated[Hash, Strict()]], Strict(False)]


class Record(BaseModel):
    """What all have in common."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", cache_strings="keys")  # texts are unique

    def check(self, where: str) -> None:
        """Raises Damaged or Unsafe where fields that are right one by one contradict each other."""


class FormatRecord(Record):
    """``format.json``."""

    format: str
    version: int
    witnesses: bool = False

    def check_known(self, cache: str) -> None:
        """Raises NotACache or UnsupportedFormat where this is the record of something else."""
        if self.format != FORMAT_NAME:
            raise NotACache(cache, "its format.json is of something else")
        if self.version != SCHEMA:
            raise UnsupportedFormat(cache, self.version, SCHEMA)


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

    def entry_spec(self, where: str) -> EntrySpec:
        """The spec; raises Damaged where its values are impossible or the fingerprint is not theirs."""
        try:
            spec = EntrySpec(**self.spec.model_dump())
        except (CacheError, RecursionError, UnicodeError) as error:
            raise Damaged(where, f"its spec is wrong ({error})") from error
        if spec.fingerprint != self.fingerprint:
            raise Damaged(where, "its fingerprint is not that of its spec")
        return spec


R = TypeVar("R", bound=Record)


def checked(kind: type[R], record: Any, where: str) -> R:
    """The fields of a record; raises Damaged with the first field that is missing or wrong, and what was found."""
    try:
        return kind.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"])
        value = repr(first["input"])[:60] if first["type"] != "missing" else "nothing"
        problem = f"field {place}: {first['msg'][:100]}; found {value}"
    except (OverflowError, RecursionError, UnicodeError) as error:
        problem = f"a field cannot be used ({error})"
    raise Damaged(where, visible(problem))


def record_of(kind: type[R], data: bytes, where: str) -> R:
    """The record in ``data``, its seal, its fields and their agreement checked; raises Damaged, Unsafe or UnsupportedFormat."""
    _body(data, where)
    made: R | None = None
    if data.startswith(_SCHEMA):
        with contextlib.suppress(ValidationError):  # texts that are no Unicode, and errors, which then get their words
            made = kind.model_validate_json(data)
    if made is None:
        made = checked(kind, unseal(data, where), where)
    made.check(where)
    return made


def read_record(kind: type[R], path: Path, limit: int = LIMIT) -> R:
    """The record in a file; raises as `record_of`, and FileNotFoundError."""
    return record_of(kind, read_bytes(path, limit), str(path))
