"""The one way in which CSV files of users and corpora are read: strictly, and errors name the line.

A quote that is never closed swallows the rows behind it, so the file is refused and the error names the line where the quote
opens. A row ends at `\\n`, `\\r\\n` or `\\r` and at nothing else (`str.splitlines` also cuts at U+0085 and U+2028, which people
type). Python's own strict parser decides what a quote means.
"""

import csv
import io
import sys
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ser_base.errors import listing
from ser_data.errors import BadManifest
from ser_data.manifest.text import clean_name

if TYPE_CHECKING:
    import pandas as pd

DELIMITERS = ",;\t"
Row = tuple[int, dict[str, str] | str]
"""Line number where the row ends, and the row or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file.

    Attributes:
        header: Names of the columns.
        rows: Every row that is not blank.
        notes: (reason, detail) of what is lawful and odd: cells with line breaks, columns without a name.
    """

    header: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[tuple[str, str], ...] = ()


def read_csv(path: Path, *, errors: str = "surrogateescape", delimiters: str = DELIMITERS) -> CsvFile:
    """Reads a file.

    Args:
        path: The file, in UTF-8 with or without a byte order mark.
        errors: What becomes of bytes that are not UTF-8, as for `bytes.decode`; lone surrogates by default.
        delimiters: Those that may be meant; the most frequent one in the first line is.

    Raises:
        BadManifest: UTF-16, empty, a quote that is not closed, or two columns of one name.
        OSError: It cannot be read.
    """
    return parse_csv(decode(path.read_bytes(), path, errors), str(path), delimiters)


def csv_frame(path: Path) -> "pd.DataFrame":
    """The file as a data frame of text, without missing values; a row of another length is an error.

    Raises:
        BadManifest: As for `read_csv`, also for a line that is not a row and for bytes that are not UTF-8.
        OSError: It cannot be read.
    """
    import pandas as pd

    try:
        table = read_csv(path, errors="strict")
    except UnicodeDecodeError as error:
        raise BadManifest(str(path), f"is not UTF-8 ({error.reason})", "Save it as 'CSV UTF-8'.") from error
    good: list[dict[str, str]] = []
    for line, row in table.rows:
        if isinstance(row, str):
            raise BadManifest(str(path), f"has a bad row on line {line}: {row}", "Correct the line.")
        good.append(row)
    return pd.DataFrame(good, columns=list(table.header), dtype=object)


def decode(data: bytes, path: Path, errors: str = "surrogateescape") -> str:
    """Bytes as text, without a byte order mark.

    Raises:
        BadManifest: UTF-16.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadManifest(str(path), "is UTF-16, not UTF-8", "Save it as 'CSV UTF-8'.")
    return data.decode("utf-8-sig", errors=errors)


def parse_csv(text: str, where: str, delimiters: str = DELIMITERS) -> CsvFile:
    """The same for text; see `read_csv`."""
    if not text.strip():
        what = f"is empty ({len(text.encode('utf-8', 'replace')):,} bytes)"
        raise BadManifest(where, what, "Give a table with a header line and at least one row.")
    delimiter = max(delimiters, key=text.lstrip("\r\n").split("\n", 1)[0].count)
    csv.field_size_limit(sys.maxsize)  # the whole text is in memory already
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    rows: list[tuple[int, list[str]]] = []
    broken = first = 0
    while True:
        began = reader.line_num
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise _unclosed(text, where, delimiter, began, reader.line_num, str(error)) from error
        if not any(map(clean_name, fields)):
            continue
        if header is None:
            header = [clean_name(name) for name in fields]
            continue
        if reader.line_num > began + 1 and (cells := sum("\n" in cell or "\r" in cell for cell in fields)):
            broken, first = broken + cells, first or began + 1
        rows.append((reader.line_num, fields))
    notes = []
    if broken:
        what = f"{broken:,} cells hold line breaks, the first in the row on line {first}"
        notes.append(("line breaks in cells", f"{what}; check that its quotes are meant"))
    return _tidy(header or [], rows, notes, where)


def _tidy(header: list[str], rows: list[tuple[int, list[str]]], notes: list[tuple[str, str]], where: str) -> CsvFile:
    """Without empty columns that have no name: spreadsheets write them at the end of a line."""
    width = len(header)
    filled = {
        index for _, fields in rows for index, cell in enumerate(fields[:width]) if not header[index] and cell.strip()
    }
    kept = [index for index in range(width) if header[index] or index in filled]
    surplus = sum(len(fields) > width and not any(cell.strip() for cell in fields[width:]) for _, fields in rows)
    if len(kept) < width:
        notes.append(
            ("empty columns", f"{width - len(kept):,} columns have neither a name nor a value and are left out")
        )
    if surplus:
        notes.append(("empty columns", f"{surplus:,} rows end in empty fields that the header does not have"))
    names = [header[index] for index in kept]
    if len(filled) > 1:
        what = f"has {len(filled):,} columns with values and no name, beside {listing(name for name in names if name)}"
        raise BadManifest(where, what, "Name each of them in the first line, or empty them.")
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise BadManifest(
            where, f"has a column that occurs twice: {listing(twice)} in {listing(names)}", "Rename one of them."
        )
    done: list[Row] = []
    for line, fields in rows:
        if len(fields) < width or any(cell.strip() for cell in fields[width:]):
            done.append((line, f"{len(fields)} fields where the header has {width}"))
        else:
            done.append((line, {header[index]: fields[index] for index in kept}))
    return CsvFile(tuple(names), tuple(done), tuple(notes))


def _unclosed(text: str, where: str, delimiter: str, began: int, ended: int, what: str) -> BadManifest:
    """The error for a record that starts on line `began + 1` and cannot be read on line `ended`."""
    lines = list(io.StringIO(text, newline=""))[began:ended]

    def fields(count: int) -> int:
        return len(next(csv.reader(lines[:count], delimiter=delimiter), []))

    # How many of the lines lie within a quote: all, where the file ends before it is closed, else all but the last.
    within = len(lines) if "unexpected end" in what else len(lines) - 1
    opens = began + 1 + (bisect_left(range(1, within + 1), fields(within), key=fields) if within else 0)
    if "unexpected end" in what:
        problem = f"has a quote that opens on line {opens} and is never closed"
    elif opens < ended:
        problem = f"has a quote that opens on line {opens} and is closed only on line {ended}, in the middle of a cell"
    else:
        problem = f"has a quote that is closed in the middle of a cell on line {ended} ({what})"
    remedy = 'Close the quote where its cell ends; a quote inside of a quoted cell is written twice: "He said ""no""".'
    return BadManifest(where, f"{problem}; nothing is read", remedy)
