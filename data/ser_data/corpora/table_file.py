"""The user's own table: a CSV (`csv`) or JSON lines (`jsonl`) with one utterance per row.

Columns: `path` and `label`, and any of `id corpus text speaker session dialogue scenario scripted start end gender fold
part votes video_path video_start video_end video_crop ...` (all manifest columns); a row without `video_path` has no video.
Further ones are carried as text. The card that `ser-data join` and `ser-data convert` write beside a CSV is read too. Paths
are relative to the file; `..` and absolute paths are allowed, since it is the user's own. A bad row becomes a problem with its
line number and never ends the run.
"""

import csv
import io
import json
import math
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from ser_data.errors import BadManifest, BadRoot, listing
from ser_data.manifest import CorpusInfo, Manifest, Problem, read_card_beside
from ser_data.text import normalise
from ser_data.utterance import PARTS
from ser_data.video import CROPS

Row = tuple[int, dict[str, Any] | str]  # line number, and the row or what is wrong with it
_EXPECTED = (
    "path",
    "label",
    "id",
    "text",
    "speaker",
    "session",
    "fold",
    "scenario",
    "start",
    "end",
    "gender",
    "video_path",
)


def _decode(data: bytes, path: Path) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadManifest(str(path), "is UTF-16, not UTF-8", "Save it as 'CSV UTF-8'.")
    return data.decode("utf-8-sig", errors="surrogateescape")  # bytes that are not UTF-8 become lone surrogates


def _is_utf8(row: dict[str, str]) -> bool:
    try:
        "".join(row.values()).encode()
    except UnicodeEncodeError:  # a lone surrogate, which is what `_decode` makes of a byte that is not UTF-8
        return False
    return True


def _csv_rows(data: bytes, path: Path) -> Iterator[Row]:
    text = _decode(data, path)
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    csv.field_size_limit(1 << 24)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [name.strip() for name in next(reader, [])]
    if len(set(header)) != len(header):
        raise BadManifest(str(path), f"a column occurs twice in {listing(header)}", "Rename one of them.")
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # a field of more than 16 MB: mostly a quote that is never closed
            yield reader.line_num, str(error)
            continue
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(header):
            yield reader.line_num, f"{len(fields)} fields where the header has {len(header)}"
        else:
            yield reader.line_num, dict(zip(header, fields, strict=True))


def _jsonl_rows(data: bytes, path: Path) -> Iterator[Row]:
    for number, line in enumerate(_decode(data, path).split("\n"), 1):
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
        # `votes` stays JSON; every other value becomes the text that a CSV would hold
        yield number, {key: "" if value is None else json.dumps(value) if isinstance(value, dict) else str(value) for key, value in row.items()}  # fmt: skip


def resolve_path(base: Path, given: str) -> str:
    """The absolute path of a row's file: as written, or, if that is no file, with backslashes read as separators."""
    path = os.path.normpath(os.path.join(base, given))
    if "\\" in given and not os.path.isfile(path):
        windows = PureWindowsPath(given)
        path = windows.as_posix() if windows.drive else os.path.normpath(os.path.join(base, windows.as_posix()))
    return path


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
            found = "a folder" if root.is_dir() else "nothing of that name"
            raise BadRoot(
                self.info.name, str(root), "file", (found,), f"Give the table itself: --root FILE.{self.info.name}."
            )
        rows = _csv_rows if self.info.name == "csv" else _jsonl_rows
        good: list[dict[str, Any]] = []
        problems: list[Problem] = []
        seen: dict[str, str] = {}
        base = root.resolve().parent
        for line, row in rows(root.read_bytes(), root):
            where = f"{root.name}, line {line}"
            if isinstance(row, str):
                problems.append(Problem("", "bad row", row, where))
                continue
            if not good and not problems:
                _check_columns(root, row)
            problem = _problem(row, base, where, labels, check_files, seen)
            if problem is not None:
                problems.append(problem)
                if problem.dropped:
                    continue
            good.append({key: value if value != "" else None for key, value in row.items()})
        if not good:
            first = f"; the first problem: {problems[0]}" if problems else ""
            raise BadManifest(str(root), f"no usable row among {len(problems):,}{first}", "Correct the table.")
        info = read_card_beside(root) or replace(self.info, title=f"{root.name} ({self.info.title})")
        return Manifest(pd.DataFrame(good), info, problems)


def _check_columns(root: Path, row: dict[str, Any]) -> None:
    if not {"path", "text", "video_path"} & set(row):
        remedy = f"Rename the columns: path (and label); known are {listing(_EXPECTED, 20)}."
        raise BadManifest(str(root), f"no column 'path'; found {listing(row, 20)}", remedy)


def _problem(
    row: dict[str, Any], base: Path, where: str, labels: Collection[str] | None, check_files: bool, seen: dict[str, str]
) -> Problem | None:
    """What is wrong with a row, or `None`; fills in `id` and the absolute `path` and `video_path`."""
    given = (row.get("path") or "").strip()
    start = (row.get("start") or "").strip()
    name = (row.get("id") or "").strip() or os.path.splitext(given)[0] + (f"@{start}" if start else "")
    if not _is_utf8(row):
        return Problem(
            name.encode("utf-8", "replace").decode(), "not UTF-8", "the line holds bytes that are not UTF-8", where
        )
    row["id"] = name = name or where.rsplit(" ", 1)[-1]
    if "path" in row:
        if not given:
            return Problem(name, "missing path", "the row names no file", where)
        row["path"] = resolve_path(base, given)
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
        told = f"video_end {row['video_end']} s is not after video_start {row.get('video_start') or 0} s"
        return Problem(name, "bad span", told, where)
    if (row.get("part") or "train") not in PARTS:
        return Problem(name, "bad part", f"'{row['part']}' is not one of {listing(PARTS)}", where)
    label = (row.get("label") or "").strip()
    if label and labels is not None and label not in labels:
        return Problem(name, "unknown label", f"'{label}'; known are {listing(sorted(labels), 40)}", where)
    if "path" in row and check_files and not os.path.isfile(row["path"]):
        return Problem(name, "missing file", row["path"], where)
    seen[name] = where
    if "label" in row and not label:
        return Problem(name, "missing label", "the row has no label", where, dropped=False)
    if "text" in row and not (row["text"] or "").strip():
        return Problem(name, "missing text", "the row has no text", where, dropped=False)
    if "text" in row and not normalise(row["text"]):
        return Problem(name, "empty text", f"nothing but tags: {row['text'].strip()}", where, dropped=False)
    return None


_CARD = {
    "licence": "your own data",
    "layout": "one file, one utterance per row, columns path, label, ...",
    "transcripts": "as given",
}
CSV = TableFile(CorpusInfo(name="csv", title="own CSV", **_CARD))  # type: ignore[arg-type]
JSONL = TableFile(CorpusInfo(name="jsonl", title="own JSON lines", **_CARD))  # type: ignore[arg-type]
