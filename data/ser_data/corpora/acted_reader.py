"""Reads acted corpora whose file names say everything: one reader for all, each corpus is a row of its table."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_data.corpora.base import length, names_in, require_folder, visible_files
from ser_data.errors import BadRoot
from ser_data.manifest.table import CorpusInfo, Manifest, Problem

Match = re.Match[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActedCorpus:
    """Reader of the recordings at any depth under the root.

    Attributes:
        info: The corpus's card.
        pattern: What a file's stem must match in full; with `folders`, the path of so many parts more without suffix. A group
            `id` is the utterance's id, where that is not the whole match.
        grammar: The pattern in words, for the problem of a name that does not match.
        row: Speaker, label and other columns of the manifest that the match gives.
        folders: How many folders above the file its name may need to be complete.
        suffixes: Endings of the files.
        other: Why a file of the archive is not speech, for the problem; empty if it is.
        twin: The stem of the file that has the same take, where one of the two is enough.
        beside: Further columns by id, of tables that lie beside the recordings; it may add to the problems.
    """

    info: CorpusInfo
    pattern: re.Pattern[str]
    grammar: str
    row: Callable[[Match], dict[str, Any]]
    folders: int = 0
    suffixes: tuple[str, ...] = (".wav", ".flac", ".aiff", ".aif")
    other: Callable[[Match], str] = lambda name: ""
    twin: Callable[[Match], str | None] = lambda name: None
    beside: Callable[[Path, list[Problem]], dict[str, dict[str, Any]]] = lambda root, problems: {}

    def match(self, path: Path) -> Match | None:
        """Returns what the grammar says of a file's name, or `None` where it does not fit."""
        names = ("/".join((*path.parts[-1 - above : -1], path.stem)) for above in range(self.folders + 1))
        return next((match for name in names if (match := self.pattern.fullmatch(name))), None)

    def read(self, root: Path, *, durations: bool = True) -> Manifest:
        """Reads all utterances; see `Corpus.read`.

        Args:
            root: Folder with the recordings at any depth.
            durations: Whether to read every file's header for its length.
        """
        import pandas as pd

        base = require_folder(self.info.name, root)
        rows: dict[str, dict[str, Any]] = {}
        twins: dict[str, str] = {}
        problems: list[Problem] = []
        for path in visible_files(base, self.suffixes):
            where = str(path.relative_to(base))
            match = self.match(path)
            if match is None:
                problems.append(Problem(path.stem, "bad id", f"not {self.grammar}", where))
                continue
            name = match.groupdict().get("id") or match[0].replace("/", "_")
            if other := self.other(match):
                problems.append(Problem(name, "not speech", other, where))
                continue
            if name in rows:
                problems.append(Problem(name, "duplicate id", f"first in {rows[name]['path']}", where))
                continue
            seconds = length(path) if durations else None
            rows[name] = {"id": name, "path": str(path), "scripted": True, "duration": seconds, **self.row(match)}
            if twin := self.twin(match):
                twins[name] = twin
        for name, twin in twins.items():
            if twin in rows:
                detail = f"the same take as {twin}, with pictures; the sound alone is used"
                where = str(Path(rows.pop(name)["path"]).relative_to(base))
                problems.append(Problem(name, "twin", detail, where))
        if not rows:
            raise BadRoot(self.info.name, str(root), f"file {self.grammar}", names_in(base))
        for name, columns in self.beside(base, problems).items():
            if name in rows:
                rows[name] |= columns
        return Manifest(pd.DataFrame(list(rows.values())), self.info, problems)


def tab_table(path: Path, problems: list[Problem]) -> list[list[str]]:
    """Returns the cells of a file whose columns are separated by tabs; empty, with a problem, if it is not text."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(Problem("", "not UTF-8", f"it is not read ({error.reason})", path.name, dropped=False))
        return []
    return [[cell.strip() for cell in line.split("\t")] for line in text.splitlines()]
