"""Small files that travel with a cache, opaque to it: the corpus manifest, for one.

The file itself is plain (``attachments/manifest.parquet``), so other tools open it. Its hash is noted beforehand as an
empty file, ``checksums/manifest.parquet/HASH-SIZE``; content whose hash was never noted is damage.
"""

import re
from pathlib import Path

import xxhash

from ser_cache.errors import Damaged, MissingAttachment, WrongRows
from ser_cache.format.durable import create_exclusive, replace_file, writing
from ser_cache.format.seal import LIMIT, read_bytes
from ser_cache.format.tree import folder, inside, names

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


def attach(root: Path, name: str, data: bytes) -> None:
    """Creates or replaces an attachment; a reader sees the old bytes or the new ones. Durable on return."""
    if not NAME.fullmatch(name):
        raise WrongRows(f"attachment {name!r}", "give a plain file name of letters, digits, '.', '_' and '-'")
    if len(data) > LIMIT:
        raise WrongRows(f"attachment {name!r}", f"it has {len(data):,} bytes, more than {LIMIT:,}")
    with writing(root / "attachments" / name):
        notes = folder(root, "checksums", name)
        folder(root, "attachments")
    create_exclusive(notes / note(data), b"")
    replace_file(inside(root, f"attachments/{name}"), data)


def attachment(root: Path, name: str) -> bytes:
    """Bytes of an attachment; raises MissingAttachment or Damaged."""
    if not NAME.fullmatch(name):
        raise MissingAttachment(str(root), name, attachments(root))
    try:
        data = read_bytes(inside(root, f"attachments/{name}"))
    except FileNotFoundError:
        raise MissingAttachment(str(root), name, attachments(root)) from None
    if note(data) not in names(root, "checksums", name):
        raise Damaged(f"{root}/attachments/{name}", "its checksum was never noted")
    return data


def attachments(root: Path) -> tuple[str, ...]:
    """Names of what is attached."""
    return tuple(names(root, "attachments", like=NAME))


def note(data: bytes) -> str:
    """Name of the empty file that says that an attachment was given this content."""
    return f"{xxhash.xxh3_128(data).hexdigest()}-{len(data)}"
