"""A folder of audio files, sorted into one sub-folder per label, as many tutorials and `datasets`' audiofolder have it.

- `root/LABEL/anything.wav`, at any depth below the label;
- `root/{train,dev,test}/LABEL/anything.wav`: the first level becomes `part` (`valid`, `validation`, `val` mean dev);
- a file `metadata.csv` with the column `file_name` (and any manifest columns) gives the rows instead.

The text of `x.wav` may lie beside it in `x.txt`. The folder is an archive: `metadata.csv` may not name files outside of it.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from ser_base.errors import listing
from ser_data.corpora.base import (
    AUDIO_SUFFIXES,
    PathEscapes,
    contained,
    length,
    names_in,
    require_folder,
    visible_files,
)
from ser_data.errors import BadManifest, BadRoot
from ser_data.manifest.csv_file import read_csv
from ser_data.manifest.table import CorpusInfo, Manifest, Problem
from ser_data.manifest.text import as_name, clean_name
from ser_data.media.files import with_near_names

PART_NAMES = {"train": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "test": "test"}


class AudioFolder:
    """Reader of a folder per label."""

    info = CorpusInfo(
        name="audiofolder",
        title="own folder of audio files",
        licence="your own data",
        transcripts="as given (x.txt beside x.wav)",
        layout="[train|dev|test/]LABEL/**/*.wav, or metadata.csv with file_name and manifest columns",
    )

    def read(self, root: Path, *, durations: bool = True) -> Manifest:
        """All audio files; see `Corpus.read`.

        Args:
            root: The folder.
            durations: Whether to read every file's header for its length.
        """
        import pandas as pd

        base = require_folder("audiofolder", root)
        problems: list[Problem] = []
        rows = (_from_metadata if (base / "metadata.csv").is_file() else _from_folders)(base, problems)
        if not rows:
            others = tuple(str(p) for p in problems[:2]) or names_in(base)
            raise BadRoot("audiofolder", str(root), "folder LABEL with audio files", others)
        for row in rows:
            if durations and not row.get("duration"):
                row["duration"] = length(Path(row["path"]))
        return Manifest(pd.DataFrame(rows), self.info, problems)


def _from_folders(base: Path, problems: list[Problem]) -> list[dict[str, Any]]:
    first = {path.name for path in base.iterdir() if path.is_dir() and not path.name.startswith(".")}
    parts = bool(first) and first <= set(PART_NAMES)
    rows: list[dict[str, Any]] = []
    seen: dict[str, str] = {}
    files = [path.relative_to(base) for path in visible_files(base, AUDIO_SUFFIXES)]
    stems = Counter(clean_name(inside.with_suffix("").as_posix()) for inside in files)
    if shared := sum(count for count in stems.values() if count > 1):
        what = f"{shared:,} files share their path but for its ending with another; their ids keep it"
        problems.append(Problem("", "shared stem", what, dropped=False))
    for inside in files:
        path, folders = base / inside, inside.parts[:-1]
        name = clean_name(inside.with_suffix("").as_posix())
        if stems[name] > 1:
            name = clean_name(inside.as_posix())
        if len(folders) < 1 + parts:
            problems.append(
                Problem(name, "missing label", "the file is not in a folder named after a label", str(inside))
            )
        elif name in seen:
            problems.append(Problem(name, "duplicate id", f"first in {seen[name]}", str(inside)))
        else:
            seen[name] = str(inside)
            text = path.with_suffix(".txt")
            rows.append(
                {
                    "id": name,
                    "path": str(path),
                    "label": folders[parts],
                    "part": PART_NAMES[folders[0]] if parts else None,
                    "text": text.read_text(encoding="utf-8", errors="replace").strip() if text.is_file() else None,
                }
            )
    return rows


def _from_metadata(base: Path, problems: list[Problem]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    table = read_csv(base / "metadata.csv", errors="replace", delimiters=",")
    problems += [Problem("", *note, "metadata.csv", dropped=False) for note in table.notes]
    if "file_name" not in table.header:
        problem = f"has no column 'file_name'; it has {listing(table.header)}"
        raise BadManifest(str(base / "metadata.csv"), problem, "Rename the column with the files' names.")
    for line, raw in table.rows:
        where = f"metadata.csv, line {line}"
        if isinstance(raw, str):
            problems.append(Problem("", "bad row", raw, where))
            continue
        row: dict[str, Any] = {key: value for key, value in raw.items() if key and value}
        file_name = str(row.pop("file_name", ""))
        name = as_name(row.get("id")) or as_name(Path(file_name).with_suffix("").as_posix()) or ""
        if as_name(row.get("id")) is None:
            row["id"] = name
        try:
            path = contained(base, file_name)
        except PathEscapes as error:
            problems.append(Problem(name, "path escapes", error.why, where))
            continue
        if name in seen:
            problems.append(Problem(name, "duplicate id", "the first one is used", where))
        elif not path.is_file():
            problems.append(Problem(name, "missing file", with_near_names(path), where))
        else:
            seen.add(name)
            rows.append({**row, "path": str(path)})
    return rows


CORPUS = AudioFolder()
