"""What can go wrong with a cache, each with the facts and the next thing to do.

CacheError
├── NotACache (FileNotFoundError)      the directory is not a feature cache
├── UnsupportedFormat                  written by another version of the format
├── SpecMismatch (ValueError)          same address, another declared input
├── AmbiguousEntry (LookupError)       several entries match
├── MissingEntry (LookupError)         none matches
├── MissingRow (KeyError)              an utterance without a row
├── MissingAttachment (FileNotFoundError)
├── WrongRows (ValueError)             rows that are not what the shard or the spec asks for
├── Damaged (OSError)                  bytes on disk are not the bytes written
├── StaleEntry                         shards were removed or rewritten after the entry was opened
├── Unsafe (PermissionError)           something in the cache reaches outside of it, or asks for too much
├── UnknownContainer (ValueError)
├── CannotCommit (OSError)             the file system has no exclusive create that is safe
└── CannotWrite (OSError)              read-only, disk full
"""

from ser_base.errors import SerError


class CacheError(SerError):
    """A cache on disk cannot be used as asked."""


class NotACache(CacheError, FileNotFoundError):
    """A directory that holds no feature cache."""

    path: str
    reason: str
    got = "{path} is not a feature cache: {reason}."
    next = "Give the directory that ser-extract wrote, with --cache DIR."


class UnsupportedFormat(CacheError):
    """A record in a version of the format that this package does not know."""

    path: str
    stored: object
    version: int
    got = "{path} has format version {stored}; this version of ser-fusion reads version {version}."
    next = "Install a newer version of ser-fusion."


class SpecMismatch(CacheError, ValueError):
    """An entry exists at this address and was made from other declared inputs.

    Attributes:
        address: directory name of the entry.
        differences: (field, value in the cache, value asked for), dotted names for nested fields.
    """

    address: str
    differences: tuple[tuple[str, object, object], ...]
    got = "the entry {address} was made from other inputs, so nothing was written."
    known = "{compared}"
    next = "Give another --cache, the same options as before, or --replace to make the entry again."

    @property
    def compared(self) -> str:
        return "\n".join(f"  {field}: cache {old!r}, asked for {new!r}" for field, old, new in self.differences)


class AmbiguousEntry(CacheError, LookupError):
    """More than one entry fits what was asked; the newest is never taken silently."""

    path: str
    asked: str
    entries: tuple[str, ...]
    got = "{entries:n} entries of {path} fit {asked}:"
    known = "{entries:lines}"
    next = "Name encoder, layer or dtype as well."


class MissingEntry(CacheError, LookupError):
    """No entry fits what was asked."""

    path: str
    asked: str
    entries: tuple[str, ...]
    got = "no entry of {path} fits {asked}. The cache holds:"
    known = "{held:lines}"
    next = "Make the entry with ser-extract, or ask for one of these."

    @property
    def held(self) -> tuple[str, ...]:
        return self.entries or ("(no entry yet)",)


class MissingRow(CacheError, KeyError):
    """Utterances are asked for that the entry has no row for."""

    entry: str
    ids: tuple[str, ...]
    asked: int
    got = "{ids:n} of {asked:,} utterances have no row in {entry}: {ids:3}."
    next = "Run ser-extract again with the same options; it computes only what is missing."


class MissingAttachment(CacheError, FileNotFoundError):
    """An attachment that the cache does not hold."""

    path: str
    name: str
    attached: tuple[str, ...]
    got = "{path} has no attachment {name!r}; it has {attached}."
    next = "Run ser-extract again with the same options."


class WrongRows(CacheError, ValueError):
    """Rows or items that do not fit the shard or the spec they are given for."""

    what: str
    problem: str
    got = "{what}: {problem}."


class Damaged(CacheError, OSError):
    """Bytes on disk that are not the bytes that were written."""

    where: str
    problem: str
    got = "{where} is damaged: {problem}."
    next = (
        "Run ser cache verify --repair on the cache. It names everything that is damaged and prints how to restore it."
    )


class StaleEntry(CacheError):
    """An entry was changed on disk (rows withdrawn, gc, repair) after it was opened."""

    entry: str
    got = "{entry} was changed after it was opened: a shard was rewritten or removed."
    next = "Open the cache again."


class Unsafe(CacheError, PermissionError):
    """A cache that reaches outside itself (links, paths) or declares more than its files can hold."""

    where: str
    problem: str
    got = "{where} is refused: {problem}."
    next = "A cache that ser-extract wrote never has this. Do not trust where the cache came from."


class UnknownContainer(CacheError, ValueError):
    """A container that this version does not know."""

    name: str
    containers: tuple[str, ...]
    where: str
    got = "{where} names the container {name!r}; this version knows {containers}."


class CannotCommit(CacheError, OSError):
    """The file system offers no safe way to create a record exclusively."""

    path: str
    tried: str
    got = (
        "{path} cannot be committed: its file system has neither hard links nor renameat2(RENAME_NOREPLACE) ({tried})."
    )
    next = "Nothing was written. Put the cache on another file system (ext4, xfs, btrfs, NFS, tmpfs)."


class CannotWrite(CacheError, OSError):
    """Writing failed; everything committed before is untouched."""

    path: str
    problem: str
    got = "writing {path} failed: {problem}."
    next = "What was committed before is safe. Correct the cause and run the same command again."
