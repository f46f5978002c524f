"""What a corpus must be able to do."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ser_data.errors import BadRoot
from ser_data.manifest import CorpusInfo, Manifest

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".mp4", ".opus", ".aiff", ".aif")


class Corpus(Protocol):
    """A reader of one corpus, or of one kind of archive.

    Attributes:
        info: The corpus's card. Readers of own data (`csv`, ...) complete it with what they find.
    """

    @property
    def info(self) -> CorpusInfo: ...

    def read(self, root: Path, **options: Any) -> Manifest:
        """All utterances under `root`; whatever is left out is a `Problem` of the manifest.

        Args:
            root: Folder or file.
            options: What this reader takes besides; an unknown option is a `TypeError`.

        Raises:
            BadRoot: `root` does not hold this corpus; the message says what was found.
        """
        ...


def require_folder(corpus: str, root: Path) -> Path:
    """`root` as an absolute path.

    Raises:
        BadRoot: No such folder.
    """
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing of that name"
        raise BadRoot(corpus, str(root), "folder", (found,), "Give the corpus's folder: --root PATH.")
    return root.resolve()


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
