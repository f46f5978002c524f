"""A file as a decoder may see it: regular, not empty, not too large, opened by ffmpeg with care; and the hash of its bytes."""

import math
import os
import stat
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self

from ser_data.errors import MediaError
from ser_data.manifest.text import alike

Refuse = Callable[[str, str, str], Exception]
"""`(path, reason, detail)` -> the error to raise: `AudioError`, `VideoError`."""


def regular(path: str | Path, most: int, refuse: Refuse) -> os.stat_result:
    """The file's stat; a pipe or a device would hang the reader.

    Args:
        path: The file.
        most: Largest file, in bytes.
        refuse: Makes the error, with the reason `missing`, `unreadable`, `empty` or `limits`.
    """
    name = str(path)
    try:
        facts = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise refuse(name, "missing", "") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise refuse(name, "unreadable", sentence(error)) from error
    if not stat.S_ISREG(facts.st_mode):
        raise refuse(name, "unreadable", "not a regular file")
    if not facts.st_size:
        raise refuse(name, "empty", "0 bytes")
    if facts.st_size > most:
        raise refuse(name, "limits", f"{facts.st_size:,} bytes, at most {most:,}")
    return facts


def content_hash(path: str | Path, refuse: Refuse) -> str:
    """xxh3-128 of the file's bytes, 32 hex digits."""
    import xxhash

    digest = xxhash.xxh3_128()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise refuse(str(path), "unreadable", error.strerror or "") from error
    return digest.hexdigest()


def known_hash(path: str | Path, facts: os.stat_result, refuse: Refuse) -> str:
    """The same, remembered as long as the file looks unchanged: thousands of spans may lie in one long file."""
    return _remembered(str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino, refuse)


@lru_cache(maxsize=4096)
def _remembered(path: str, size: int, changed: int, inode: int, refuse: Refuse) -> str:
    return content_hash(path, refuse)


def with_near_names(path: str | Path) -> str:
    """A path that is not there, with what is there under nearly that name: another ending, case, or Unicode form."""
    path = Path(path)
    place = next((folder for folder in path.parents if folder.is_dir()), None)
    if place is None:
        return str(path)
    wanted = path.relative_to(place).parts[0]
    names = _listed(str(place))
    near = [name for name in names if alike((name, wanted))]
    if wanted == path.name:
        near = near or [name for name in names if alike((Path(name).stem, path.stem)) or Path(name).stem == path.stem]
    return (
        f"{path}; nearly the same name: {' and '.join(repr(str(place / name)) for name in near[:3])}"
        if near
        else str(path)
    )


@lru_cache(maxsize=64)
def _listed(folder: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(folder)))
    except OSError:
        return ()


def seconds_of(value: float | None) -> float | None:
    """A manifest's number of seconds: NaN is None."""
    return None if value is None or math.isnan(value) else float(value)


def sentence(error: BaseException) -> str:
    """The last clause of a library's message: without the path that the caller prints anyway."""
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")[:200]


class OpenedByFfmpeg:
    """A file open in PyAV (ffmpeg's libraries), with its first usable track. A context manager.

    Formats and codecs are those of two lists and no others, so that a playlist opens no other file, and an address is never
    opened. Whatever a foreign file makes ffmpeg raise becomes the file's own error.

    Attributes:
        formats: Containers that are read, by ffmpeg's names.
        codecs: Decoders that are used, by ffmpeg's names.
        error: Of the file: `error(path, reason, detail)`.
        container: PyAV's container.
        stream: The track.
    """

    formats: ClassVar[Iterable[str]]
    codecs: ClassVar[Iterable[str]]
    error: ClassVar[Callable[[str, str, str], MediaError]]
    container: Any
    stream: Any

    def __init__(self, path: str | Path, file_bytes: int, **options: str) -> None:
        self._path, self._name, self._file_bytes, self._options = path, str(path), file_bytes, options

    def __enter__(self) -> Self:
        make = type(self).error
        regular(self._path, self._file_bytes, make)
        if find_spec("av") is None:
            needs = "it needs PyAV, which is not installed: pip install 'ser-fusion[video]'"
            raise make(self._name, "unreadable", needs)
        import av

        options = {
            "format_whitelist": ",".join(self.formats),
            "codec_whitelist": ",".join(self.codecs),
            "protocol_whitelist": "file",
            "threads": "1",
            **self._options,
        }
        self._file = open(self._path, "rb")  # closed in __exit__; a file object: its name opens no address
        try:
            self.container = av.open(self._file, options=options, metadata_errors="ignore")
            self.stream = self._track()
            self.stream.codec_context.thread_count = 1
        except (MediaError, MemoryError):
            self.__exit__()
            raise
        except Exception as error:  # whatever a foreign file makes ffmpeg and PyAV raise
            self.__exit__()
            raise make(self._name, "unreadable", f"{sentence(error)}; is it cut off?") from error
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "container"):
            self.container.close()
        self._file.close()

    def _track(self) -> Any:
        """The track to read, or an error with its reason."""
        raise NotImplementedError

    @property
    def _kinds(self) -> str:
        """The kinds of tracks that the file holds."""
        kinds = ", ".join(sorted({str(track.type) for track in self.container.streams}))
        return kinds or "no track at all; is it cut off?"
