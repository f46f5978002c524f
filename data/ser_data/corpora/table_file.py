"""The user's own table: a CSV (`csv`) or JSON lines (`jsonl`) with one utterance per row.

Columns: `path` and `label`, and any other column of a manifest: `id`, `text`, `speaker`, `session`, `fold`, `start`, `end`,
`video_path` ... (`ser_data.manifest.columns.Utterance`). A row without `video_path` has no video.
Further ones are carried as text. The card that `ser data join` and `ser data convert` write beside a CSV is read too. Paths
are relative to the file; `..` and absolute paths are allowed, since it is the user's own. A bad row becomes a problem with its
line number and never ends the run.
"""

import json
import math
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from ser_base.errors import listing
from ser_data.corpora.base import misfit, near
from ser_data.errors import BadManifest, BadRoot
from ser_data.manifest.columns import PARTS
from ser_data.manifest.csv_file import Row, decode, read_csv
from ser_data.manifest.table import CorpusInfo, Manifest, Problem, read_card_beside
from ser_data.manifest.text import NAMES, as_name, plain_text, wordless
from ser_data.media.files import with_near_names
from ser_data.media.video import CROPS

_EXPECTED = (
    "path", "label", "id", "text", "speaker", "session", "fold", "scenario", "start", "end", "gender", "video_path",
)  # fmt: skip


def _is_utf8(row: dict[str, str]) -> bool:
    try:
        "".join(row.values()).encode()
    except UnicodeEncodeError:  # a lone surrogate, which is what `_decode` makes of a byte that is not UTF-8
        return False
    return True


def _jsonl_rows(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, f"not JSON ({error.msg})"
            continue
        if not isinstance(row, dict):
            yield number, "not a JSON object"
            continue
        yield number, {key: _cell(key, value) for key, value in row.items()}


def _cell(column: str, value: Any) -> str:
    """A JSON value as the text that a CSV would hold; `votes` stays JSON, and 1 and 1.0 are one name."""
    if column in NAMES:
        return plain_text(value) or ""
    return "" if value is None else json.dumps(value) if isinstance(value, dict) else str(value)


def _rows(path: Path, kind: str) -> tuple[Iterable[Row], list[Problem]]:
    """The rows of a table, and problems of the table as a whole."""
    if kind == "csv":
        table = read_csv(path)
        return table.rows, [Problem("", *note, path.name, dropped=False) for note in table.notes]
    return _jsonl_rows(decode(path.read_bytes(), path)), []


def resolve_path(base: Path, written: str) -> str:
    """The absolute path of a row's file: as written, or with backslashes as separators where that is not a file."""
    path = os.path.normpath(os.path.join(base, written))
    if "\\" in written and not os.path.isfile(path):
        windows = PureWindowsPath(written)
        path = windows.as_posix() if windows.drive else os.path.normpath(os.path.join(base, windows.as_posix()))
    return path


class PathIds:
    """Ids of rows that give none: the path without its ending, relative to the table's folder where the file lies inside it.

    So a table may be moved together with its files. Where an earlier row names another file of the same stem, the ending is
    kept. No row ever changes the id of an earlier one.

    Args:
        table: The table's file.
    """

    def __init__(self, table: Path) -> None:
        self._folders = {os.path.abspath(table.parent), str(table.resolve().parent)}
        self._stems: dict[str, str] = {}
        self.longer: list[str] = []
        """Ids that keep the ending."""

    def of(self, written: str, start: str) -> str:
        """The id of a row with this path and this start of its span, both as written and maybe empty."""
        path = self._relative(written) if os.path.isabs(written) else written
        span = f"@{start}" if start else ""
        short = (as_name(os.path.splitext(path)[0]) or "") + span
        if self._stems.setdefault(short, path) == path:
            return short
        self.longer.append((as_name(path) or "") + span)
        return self.longer[-1]

    def _relative(self, written: str) -> str:
        folder, name = os.path.split(os.path.normpath(written))
        for place in (folder, os.path.realpath(folder)):
            for own in self._folders:
                if place == own or place.startswith(own.rstrip(os.sep) + os.sep):
                    return os.path.relpath(os.path.join(place, name), own)
        return written


@dataclass(frozen=True, slots=True)
class TableFile:
    """Reader of one kind of table file."""

    info: CorpusInfo

    def read(self, root: Path, *, labels: Collection[str] | None = None, check_files: bool = True) -> Manifest:
        """Reads the table.

        Args:
            root: The file.
            labels: Known labels; a row with another is dropped as `unknown label`. `None` takes all.
            check_files: Whether a row whose file is missing is dropped (one `stat` per row).

        Raises:
            BadRoot: No such file.
            BadManifest: No usable column or no usable row.
        """
        import pandas as pd

        if not root.is_file():
            remedy = f"{near(root)}Give the table itself as ROOT: FILE.{self.info.name}."
            raise BadRoot(self.info.name, str(root), "file", (), remedy, misfit(root, "folder"))
        good: list[dict[str, Any]] = []
        seen: dict[str, str] = {}
        base, ids = root.resolve().parent, PathIds(root)
        rows, notes = _rows(root, self.info.name)
        problems = list(notes)
        for line, row in rows:
            where = f"{root.name}, line {line}"
            if isinstance(row, str):
                problems.append(Problem("", "bad row", row, where))
                continue
            if not good and len(problems) == len(notes):
                _check_columns(root, row)
            problem = _problem(row, base, ids, where, labels, check_files, seen)
            if problem is not None:
                problems.append(problem)
                if problem.dropped:
                    continue
            good.append({key: value if value != "" else None for key, value in row.items()})
        if not good:
            dropped = problems[len(notes) :]
            if not dropped:
                raise BadManifest(str(root), "has no row below its header", "Add one row for each utterance.")
            what = f"has no usable row among {len(dropped):,}; the first problem: {dropped[0]}"
            raise BadManifest(str(root), what, "Correct the rows, then read the table again.")
        if ids.longer:
            what = f"{len(ids.longer):,} rows share their path but for its ending with an earlier one; their ids keep it, as"
            problems.append(Problem("", "shared stem", f"{what} {ids.longer[0]}", root.name, dropped=False))
        info = read_card_beside(root) or replace(self.info, title=f"{root.name} ({self.info.title})")
        return Manifest(pd.DataFrame(good), info, problems)


def _check_columns(root: Path, row: dict[str, Any]) -> None:
    if not {"path", "text", "video_path"} & set(row):
        remedy = f"Rename the columns: path (and label); known columns are {listing(_EXPECTED, 20)}."
        raise BadManifest(str(root), f"has no column 'path'; it has {listing(row, 20)}", remedy)


def _problem(
    row: dict[str, Any],
    base: Path,
    ids: PathIds,
    where: str,
    labels: Collection[str] | None,
    check_files: bool,
    seen: dict[str, str],
) -> Problem | None:
    """What is wrong with a row, or `None`; fills in `id` and the absolute `path` and `video_path`."""
    path = (row.get("path") or "").strip()
    start = (row.get("start") or "").strip()
    name = as_name(row.get("id")) or ids.of(path, start)
    if not _is_utf8(row):
        return Problem(
            name.encode("utf-8", "replace").decode(), "not UTF-8", "the line holds bytes that are not UTF-8", where
        )
    name = name or where.rsplit(" ", 1)[-1]
    if as_name(row.get("id")) is None:
        row["id"] = name
    if "path" in row:
        if not path:
            return Problem(name, "missing path", "the column path is empty", where)
        row["path"] = resolve_path(base, path)
    if video := (row.get("video_path") or "").strip():
        row["video_path"] = resolve_path(base, video)
    if (crop := (row.get("video_crop") or "").strip()) and crop not in CROPS:
        return Problem(name, "bad crop", f"'{crop}' is not one of {listing(CROPS)}", where)
    if name in seen:
        return Problem(name, "duplicate id", f"first on {seen[name]}", where)
    for column in ("start", "end", "valence", "arousal", "dominance", "duration", "turn", "video_start", "video_end"):
        if value := (row.get(column) or "").strip():
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            if not math.isfinite(number):
                return Problem(name, "bad number", f"{column} is '{value}'", where)
    if row.get("end") and float(row["end"]) <= float(start or 0):
        return Problem(name, "bad span", f"end {row['end']} s is not after start {start or 0} s", where)
    if row.get("video_end") and float(row["video_end"]) <= float(row.get("video_start") or 0):
        detail = f"video_end {row['video_end']} s is not after video_start {row.get('video_start') or 0} s"
        return Problem(name, "bad span", detail, where)
    if (as_name(row.get("part")) or "train") not in PARTS:
        return Problem(name, "bad part", f"'{row['part']}' is not one of {listing(PARTS)}", where)
    label = as_name(row.get("label"))
    if label and labels is not None and label not in labels:
        return Problem(name, "unknown label", f"'{label}'; known are {listing(sorted(labels), 40)}", where)
    if "path" in row and check_files and not os.path.isfile(row["path"]):
        return Problem(name, "missing file", with_near_names(row["path"]), where)
    seen[name] = where
    if "label" in row and not label:
        return Problem(name, "missing label", "the row has no label", where, dropped=False)
    if "text" in row and not (row["text"] or "").strip():
        return Problem(name, "missing text", "the row has no text", where, dropped=False)
    if "text" in row and (why := wordless(row["text"])):
        return Problem(name, "empty text", f"{why}: {row['text'].strip()!r}", where, dropped=False)
    return None


_CARD = {
    "licence": "your own data",
    "layout": "one file, one utterance per row, columns path, label, ...",
    "transcripts": "as given",
}
CSV = TableFile(CorpusInfo(name="csv", title="own CSV", **_CARD))  # type: ignore[arg-type]
JSONL = TableFile(CorpusInfo(name="jsonl", title="own JSON lines", **_CARD))  # type: ignore[arg-type]
