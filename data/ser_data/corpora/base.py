"""What a reader of a corpus offers, and the files that an archive may name."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol

from ser_base.errors import suggestion
from ser_data.errors import BadRoot, CorpusError
from ser_data.manifest.table import CorpusInfo, Manifest

AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64", ".sph", ".m4a", ".mp4", ".3gp", ".mov",
    ".webm", ".mkv", ".aac", ".amr",
)  # fmt: skip


class Corpus(Protocol):
    """A reader of one corpus, or of one kind of archive.

    Attributes:
        info: The corpus's card. Readers of own data (`csv`, ...) complete it with what they find.
    """

    @property
    def info(self) -> CorpusInfo: ...

    @property
    def read(self) -> Callable[..., Manifest]:
        """Method `read(root: Path, **options) -> Manifest`: all utterances under `root` (a folder or file).

        Every row that is left out is a `Problem` of the manifest. It raises `BadRoot` if `root` does not hold this corpus.
        """
        ...


def length(path: Path) -> float | None:
    """Duration in seconds from the file's header, `None` if it cannot be read (extraction will say why)."""
    import soundfile

    try:
        info = soundfile.info(str(path))
    except (RuntimeError, OSError, TypeError):  # soundfile's errors are RuntimeErrors
        return None
    return float(info.frames) / float(info.samplerate) if info.samplerate else None


def require_folder(corpus: str, root: Path) -> Path:
    """`root` as an absolute path.

    Raises:
        BadRoot: No such folder.
    """
    if not root.is_dir():
        remedy = "Give the corpus's folder as ROOT."
        raise BadRoot(corpus, str(root), "folder", (), near(root) + remedy, misfit(root, "file"))
    return root.resolve()


def misfit(root: Path, kind: str) -> str:
    """What is wrong with a path at which there is a `kind` (`file` or `folder`) or nothing, where the other kind is needed."""
    other = "folder" if kind == "file" else "file"
    return f"is a {kind}, not a {other}" if root.exists() else "does not exist"


def near(root: Path) -> str:
    """`Did you mean 'x'? ` for the closest name beside a path that does not exist, or nothing."""
    beside = [] if root.exists() or not root.parent.is_dir() else [path.name for path in root.parent.iterdir()]
    return suggestion(root.name, beside)


def names_in(folder: Path) -> tuple[str, ...]:
    """Names of the files and folders in a folder, sorted."""
    return tuple(sorted(path.name for path in folder.iterdir()))


def visible_files(folder: Path, suffixes: tuple[str, ...] = ()) -> Iterator[Path]:
    """Files under `folder`, sorted, links followed, without names that start with a dot (`._x`, `.DS_Store`).

    Args:
        folder: Where to look, at any depth.
        suffixes: Endings in lower case; empty for all.
    """
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and (not suffixes or os.path.splitext(name)[1].lower() in suffixes):
                yield Path(place, name)


class PathEscapes(CorpusError, ValueError):
    """An archive names a file outside of itself."""

    root: str
    name: str
    why: str
    got = "the archive's file name '{name}' is refused: {why}."
    next = "Correct the name: an archive may only name files inside {root}."


def contained(root: Path, name: str) -> Path:
    """`root/name`, if it is a relative path without `..` whose target, links followed, lies under `root`.

    Args:
        root: The archive's folder.
        name: A file's name as the archive gives it, with `/` or backslashes.

    Raises:
        PathEscapes: Absolute, with a drive, with `..`, or a link that leads out.
    """
    windows = PureWindowsPath(name)
    plain = windows.as_posix() if "\\" in name else name
    if not name or "\0" in name:
        raise PathEscapes(str(root), name, "it is not a path")
    if windows.drive or windows.root or PurePosixPath(plain).is_absolute():
        raise PathEscapes(str(root), name, "it is absolute")
    if ".." in PurePosixPath(plain).parts:
        raise PathEscapes(str(root), name, "it has '..'")
    base = os.path.realpath(root)
    target = os.path.realpath(os.path.join(base, plain))
    if os.path.commonpath([base, target]) != base:
        raise PathEscapes(str(root), name, f"it is a link to {target}")
    return Path(root, plain)
