"""What can go wrong with a cache, each with the facts and the next thing to do.

CacheError
├── NotACache (FileNotFoundError)      the directory is no feature cache
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

Facts are the arguments, the sentence is made in ``__str__``: every class can be pickled, so it survives a process pool.
"""

from collections.abc import Sequence

from ser_base.errors import SerError


class CacheError(SerError):
    """A cache on disk cannot be used as asked."""

    def __str__(self) -> str:
        return " ".join(str(part) for part in self.args)


def _few(names: Sequence[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


class NotACache(CacheError, FileNotFoundError):
    """A directory that holds no feature cache."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return (
            f"{self.path} is not a feature cache: {self.reason}.\n"
            "Give the directory that ser-extract wrote (--cache DIR)."
        )


class UnsupportedFormat(CacheError):
    """A record in a version of the format that this package does not know."""

    def __init__(self, path: str, found: object, known: int) -> None:
        super().__init__(path, found, known)
        self.path, self.found, self.known = path, found, known

    def __str__(self) -> str:
        return (
            f"{self.path} has format version {self.found}; this version of ser-fusion reads {self.known}.\n"
            "Upgrade ser-fusion to read it."
        )


class SpecMismatch(CacheError, ValueError):
    """An entry exists at this address and was made from other declared inputs.

    Attributes:
        address: directory name of the entry.
        differences: (field, value in the cache, value asked for), dotted names for nested fields.
    """

    def __init__(self, address: str, differences: tuple[tuple[str, object, object], ...]) -> None:
        super().__init__(address, differences)
        self.address, self.differences = address, differences

    def __str__(self) -> str:
        lines = [f"  {field}: cache {old!r}, asked for {new!r}" for field, old, new in self.differences]
        return "\n".join(
            [
                f"the entry {self.address} was made from other inputs, so nothing was written.",
                *lines,
                "Give another --cache, the same options as before, or --replace to make the entry anew.",
            ]
        )


class AmbiguousEntry(CacheError, LookupError):
    """More than one entry fits what was asked; the newest is never taken silently."""

    def __init__(self, path: str, asked: str, found: tuple[str, ...]) -> None:
        super().__init__(path, asked, found)
        self.path, self.asked, self.found = path, asked, found

    def __str__(self) -> str:
        lines = "\n".join(f"  {name}" for name in self.found)
        return (
            f"{len(self.found)} entries of {self.path} fit {self.asked}:\n{lines}\n"
            "Name encoder, layer or dtype as well."
        )


class MissingEntry(CacheError, LookupError):
    """No entry fits what was asked."""

    def __init__(self, path: str, asked: str, found: tuple[str, ...]) -> None:
        super().__init__(path, asked, found)
        self.path, self.asked, self.found = path, asked, found

    def __str__(self) -> str:
        known = "\n".join(f"  {name}" for name in self.found) if self.found else "  (no entry yet)"
        return (
            f"no entry of {self.path} fits {self.asked}. It holds\n{known}\n"
            "Make the entry with ser-extract, or ask for one of these."
        )


class MissingRow(CacheError, KeyError):
    """Utterances are asked for that the entry has no row for."""

    def __init__(self, entry: str, ids: tuple[str, ...], asked: int) -> None:
        super().__init__(entry, ids, asked)
        self.entry, self.ids, self.asked = entry, ids, asked

    def __str__(self) -> str:
        return (
            f"{len(self.ids):,} of {self.asked:,} utterances have no row in {self.entry}: {_few(self.ids)}.\n"
            "Run ser-extract again with the same options; it computes only what is missing."
        )


class MissingAttachment(CacheError, FileNotFoundError):
    """An attachment that the cache does not hold."""

    def __init__(self, path: str, name: str, found: tuple[str, ...]) -> None:
        super().__init__(path, name, found)
        self.path, self.name, self.found = path, name, found

    def __str__(self) -> str:
        known = ", ".join(self.found) if self.found else "none"
        return (
            f"{self.path} has no attachment {self.name!r}; it has {known}.\n"
            "Run ser-extract again with the same options."
        )


class WrongRows(CacheError, ValueError):
    """Rows or items that do not fit the shard or the spec they are given for."""

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(what, problem)
        self.what, self.problem = what, problem

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}."


class Damaged(CacheError, OSError):
    """Bytes on disk that are not the bytes that were written."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where, self.problem = where, problem

    def __str__(self) -> str:
        return (
            f"{self.where} is damaged: {self.problem}.\n"
            "Run ser cache verify --repair on the cache; it names everything that is bad and how to restore it."
        )


class StaleEntry(CacheError):
    """An entry was changed on disk (rows withdrawn, gc, repair) after it was opened."""

    def __init__(self, entry: str) -> None:
        super().__init__(entry)
        self.entry = entry

    def __str__(self) -> str:
        return f"{self.entry} was changed after it was opened: a shard was rewritten or removed.\nOpen the cache again."


class Unsafe(CacheError, PermissionError):
    """A cache that reaches outside itself (links, paths) or declares more than its files can hold."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where, self.problem = where, problem

    def __str__(self) -> str:
        return (
            f"{self.where} is refused: {self.problem}.\n"
            "A cache written by ser-extract never has this; do not trust where it came from."
        )


class UnknownContainer(CacheError, ValueError):
    """A container that this version does not know."""

    def __init__(self, name: str, known: tuple[str, ...], where: str) -> None:
        super().__init__(name, known, where)
        self.name, self.known, self.where = name, known, where

    def __str__(self) -> str:
        return f"{self.where} names the container {self.name!r}; this version knows {', '.join(self.known)}."


class CannotCommit(CacheError, OSError):
    """The file system offers no safe way to create a record exclusively."""

    def __init__(self, path: str, tried: str) -> None:
        super().__init__(path, tried)
        self.path, self.tried = path, tried

    def __str__(self) -> str:
        return (
            f"{self.path} cannot be committed: its file system has neither hard links nor "
            f"renameat2(RENAME_NOREPLACE) ({self.tried}).\n"
            "Nothing was written. Put the cache on another file system (ext4, xfs, btrfs, NFS, tmpfs)."
        )


class CannotWrite(CacheError, OSError):
    """Writing failed; everything committed before is untouched."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return (
            f"writing {self.path} failed: {self.problem}.\n"
            "What was committed before is safe; mend the cause and run the same command again."
        )
