"""Transcripts of the recordings: from a CSV table of path (or file, or id) and text."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ser_data.errors import BadManifest
from ser_data.manifest.csv_file import csv_frame
from ser_data.manifest.names import clean_name, visible
from ser_predict.errors import BadTranscripts

KEYS = ("path", "file", "id")


class Transcripts(Mapping[str, str]):
    """Texts of a table, found by path, file name, or file name without ending, whichever matches first.

    File names are compared as names (`ser_data.manifest.names`): composed and decomposed letters are the same.

    Args:
        texts: Key as written in the table -> text.
        folder: What relative paths of the table are relative to.
    """

    def __init__(self, texts: Mapping[str, str], folder: Path) -> None:
        self._texts = dict(texts)
        self._resolved = {str((folder / key).resolve()): text for key, text in texts.items()}
        names: dict[str, set[str]] = {}
        for key, text in texts.items():
            for name in (clean_name(Path(key).name), clean_name(Path(key).stem)):
                names.setdefault(name, set()).add(text)
        self._names = {name: next(iter(found)) for name, found in names.items() if len(found) == 1}

    def of(self, path: str | Path) -> str | None:
        """The text of a recording, or None."""
        file = Path(path)
        for text in (
            self._texts.get(str(path)),
            self._resolved.get(str(file.resolve())),
            self._names.get(clean_name(file.name)),
            self._names.get(clean_name(file.stem)),
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
        BadTranscripts: Not there, not UTF-8, without the columns, a quote that is not closed, or a row that is no row.
    """
    try:
        table = csv_frame(path)
    except OSError as error:
        raise BadTranscripts(str(path), error.strerror or "it cannot be read") from error
    except BadManifest as error:
        raise BadTranscripts(str(path), f"{error.problem}. {error.remedy}") from error
    columns = [str(name).lower() for name in table.columns]
    key = next((name for name in KEYS if name in columns), None)
    if key is None or columns.count(key) != 1 or columns.count("text") != 1:
        raise BadTranscripts(str(path), f"its columns are {', '.join(map(str, table.columns)) or 'none'}")
    table.columns = columns
    lines = zip(table[key], table["text"], strict=True)
    texts = {name.strip(): text.strip() for name, text in lines if name.strip() and visible(text)}
    return Transcripts(texts, path.parent)
