"""Small files that travel with a cache, opaque to it: the corpus manifest, for one.

The file itself is plain (``attachments/manifest.parquet``), so other tools open it. Its hash is noted beforehand as an
empty file, ``checksums/manifest.parquet/HASH-SIZE``; content whose hash was never noted is damage.
"""

import re
from pathlib import Path

import xxhash

from ser_cache.durable import create_exclusive, make_directory, replace_file, writing
from ser_cache.errors import Damaged, MissingAttachment, WrongRows
from ser_cache.layout import check_inside
from ser_cache.seal import LIMIT, read_bytes

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


def attach(root: Path, name: str, data: bytes) -> None:
    """Creates or replaces an attachment; a reader sees the old bytes or the new ones. Durable on return."""
    if not NAME.fullmatch(name):
        raise WrongRows(f"attachment {name!r}", "give a plain file name of letters, digits, '.', '_' and '-'")
    if len(data) > LIMIT:
        raise WrongRows(f"attachment {name!r}", f"it has {len(data):,} bytes, more than {LIMIT:,}")
    with writing(root / "attachments" / name):
        make_directory(root / "attachments")
        make_directory(root / "checksums" / name)
    create_exclusive(root / "checksums" / name / _note(data), b"")
    replace_file(check_inside(root, f"attachments/{name}"), data)


def attachment(root: Path, name: str) -> bytes:
    """Bytes of an attachment; raises MissingAttachment or Damaged."""
    if not NAME.fullmatch(name):
        raise MissingAttachment(str(root), name, attachments(root))
    try:
        data = read_bytes(check_inside(root, f"attachments/{name}"))
    except FileNotFoundError:
        raise MissingAttachment(str(root), name, attachments(root)) from None
    if not (root / "checksums" / name / _note(data)).exists():
        raise Damaged(f"{root}/attachments/{name}", "its checksum was never noted")
    return data


def attachments(root: Path) -> tuple[str, ...]:
    """Names of what is attached."""
    try:
        return tuple(sorted(path.name for path in (root / "attachments").iterdir() if NAME.fullmatch(path.name)))
    except FileNotFoundError:
        return ()


def _note(data: bytes) -> str:
    return f"{xxhash.xxh3_128(data).hexdigest()}-{len(data)}"
