"""Transcripts of the recordings: from a CSV table of path (or file, or id) and text."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from ser_predict.errors import BadTranscripts

KEYS = ("path", "file", "id")


class Transcripts(Mapping[str, str]):
    """Texts of a table, found by path, file name, or file name without ending, whichever matches first.

    Args:
        texts: Key as written in the table -> text.
        folder: What relative paths of the table are relative to.
    """

    def __init__(self, texts: Mapping[str, str], folder: Path) -> None:
        self._texts = dict(texts)
        self._resolved = {str((folder / key).resolve()): text for key, text in texts.items()}
        names: dict[str, set[str]] = {}
        for key, text in texts.items():
            for name in (Path(key).name, Path(key).stem):
                names.setdefault(name, set()).add(text)
        self._names = {name: next(iter(found)) for name, found in names.items() if len(found) == 1}

    def of(self, path: str | Path) -> str | None:
        """The text of a recording, or None."""
        file = Path(path)
        for text in (
            self._texts.get(str(path)),
            self._resolved.get(str(file.resolve())),
            self._names.get(file.name),
            self._names.get(file.stem),
        ):
            if text is not None:
                return text
        return None

    def __getitem__(self, key: str) -> str:
        return self._texts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def read_transcripts(path: Path) -> Transcripts:
    """Reads a table.

    Raises:
        BadTranscripts: Not there, not UTF-8, or without the columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [name.strip().lower() for name in reader.fieldnames or []]
            key = next((name for name in KEYS if name in columns), None)
            if key is None or "text" not in columns:
                raise BadTranscripts(str(path), f"its columns are {', '.join(columns) or 'none'}")
            reader.fieldnames = columns
            texts = {
                row[key]: row["text"].strip() for row in reader if row.get(key) and (row.get("text") or "").strip()
            }
    except OSError as error:
        raise BadTranscripts(str(path), error.strerror or "it cannot be read") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadTranscripts(str(path), f"it cannot be read ({error})") from error
    return Transcripts(texts, path.parent)
