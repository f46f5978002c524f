"""The manifest: one table of utterances with the corpus's card and everything that was wrong with it.

Parquet keeps all of it in one file (card and problems in the schema's metadata); CSV keeps the table, and the problems in
a second file beside it. 100,000 rows read and write in about a second.
"""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from ser_base.errors import listing
from ser_data.errors import BadManifest
from ser_data.manifest.columns import Utterance, conform
from ser_data.manifest.csv_file import csv_frame
from ser_data.manifest.text import alike_in

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
_METADATA = b"ser_data"
TABLE_NOTES = ("blanks in names", "line breaks in cells", "empty columns", "shared stem")
"""Reasons of problems that say something of the table as a whole and leave no row out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusInfo:
    """The card of a corpus, shown wherever its results are shown.

    Attributes:
        name: Name in the table of corpora.
        title: Full name.
        licence: Licence or terms, in one line.
        citation: The paper to cite.
        url: Where to get it.
        synthetic: Whether no human spoke: results say nothing about people.
        transcripts: Where the text comes from (`human`, `script`, `subtitles`, ...).
        layout: The archive's folders and files, in one line.
        scheme: Label scheme that is meant when none is given; empty for the manifest's own labels.
    """

    name: str
    title: str
    licence: str
    citation: str = ""
    url: str = ""
    synthetic: bool = False
    transcripts: str = ""
    layout: str = ""
    scheme: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that was dropped, or one that is suspect.

    Attributes:
        id: The utterance, or an empty string where the row has none.
        reason: One word or a few, the same for all problems of a kind (`missing file`).
        detail: What was found.
        where: File and line.
        dropped: Whether the row is not in the table.
    """

    id: str
    reason: str
    detail: str = ""
    where: str = ""
    dropped: bool = True

    @property
    def sentence(self) -> str:
        """The same as a note on the whole table, without an id."""
        return f"{self.reason}{f' ({self.where})' if self.where else ''}: {self.detail}"

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.id or '(no id)'}: {self.reason}: {self.detail}{place}"


class Manifest:
    """Utterances of one corpus, sorted by nothing in particular; every function keys by id.

    Args:
        table: Columns of `Utterance` in any order and number, at least `id`; further columns are kept as text. The table
            is copied, completed (`text_normalised`, `text_hash`, `duration`) and put into fixed types: text as `object`
            with `None`, numbers as float64 with NaN, `turn` as Int64. Names lose blanks at their ends and are composed
            (`ser_data.manifest.text`); how many were changed becomes a problem that drops nothing.
        info: The corpus's card.
        problems: Dropped and suspect rows.
        ids_as_stored: Leave ids as they are, since rows of a cache lie under them.

    Raises:
        BadManifest: Missing or doubled ids.

    Examples:
        >>> import pandas as pd
        >>> from ser_data import CorpusInfo, Manifest
        >>> table = pd.DataFrame({"id": ["u1", "u2"], "label": ["happy", "sad"], "speaker": ["Ann ", "Ben"]})
        >>> manifest = Manifest(table, CorpusInfo(name="mine", title="My recordings", licence="not stated"))
        >>> [utterance.speaker for utterance in manifest.utterances()]
        ['Ann', 'Ben']
    """

    def __init__(
        self,
        table: "pd.DataFrame",
        info: CorpusInfo,
        problems: Iterable[Problem] = (),
        *,
        ids_as_stored: bool = False,
    ) -> None:
        self.table, unclean = conform(table, info.name, ids_as_stored=ids_as_stored)
        self.info = info
        self.problems: tuple[Problem, ...] = (*problems, *_unclean(unclean))
        twice = self.table["id"][self.table["id"].duplicated()].unique()
        if len(twice):
            raise BadManifest(
                info.name, f"{len(twice):,} ids occur more than once: {listing(twice, 3)}", "Make every id unique."
            )

    @property
    def dropped(self) -> tuple[Problem, ...]:
        """The problems whose row is not in the table."""
        return tuple(problem for problem in self.problems if problem.dropped)

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What is to be known of the whole table: names that were tidied, names that look alike, cells with line breaks."""
        whole = tuple(problem for problem in self.problems if problem.reason in TABLE_NOTES)
        return (*whole, *(_alike(column, names) for column, names in alike_in(self.table)))

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"Manifest({self.info.name}: {len(self):,} utterances, {len(self.problems):,} problems)"

    def utterances(self) -> Iterator[Utterance]:
        """The rows as `Utterance`, missing values as `None`."""
        names = [field.name for field in fields(Utterance)]
        columns = []
        for name in names:
            values = self.table[name].astype(object)
            columns.append(values.where(values.notna(), None).tolist())
        for row in zip(*columns, strict=True):
            yield Utterance(**dict(zip(names, row, strict=True)))

    def select(self, keep: Iterable[str]) -> "Manifest":
        """The manifest of these ids only, in their own order; problems are kept."""
        wanted = set(keep)
        return Manifest(self.table[self.table["id"].isin(wanted)], self.info, self.problems)

    def to_bytes(self) -> bytes:
        """Parquet with card and problems in the schema's metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.table, preserve_index=False)
        meta = {**(table.schema.metadata or {}), _METADATA: self._card().encode()}
        table = table.replace_schema_metadata(meta)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "manifest", *, ids_as_stored: bool = True) -> "Manifest":
        """The manifest that `to_bytes` wrote.

        Args:
            data: Parquet.
            where: What it is called in errors.
            ids_as_stored: See `Manifest`.

        Raises:
            BadManifest: Not Parquet, or Parquet that is not a manifest.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        remedy = "Write it again with ser data convert, or give the corpus itself."
        try:
            table = pq.read_table(io.BytesIO(data))
            raw = (table.schema.metadata or {}).get(_METADATA)
            if raw is None:
                raise BadManifest(where, "is Parquet, but not a manifest of ser data", remedy)
            info, problems = _read_card(raw, where)
        except (pa.ArrowException, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise BadManifest(where, f"cannot be read as a manifest ({str(error).splitlines()[0]})", remedy) from error
        return cls(table.to_pandas(), info, problems, ids_as_stored=ids_as_stored)

    def _card(self) -> str:
        """Card and problems as JSON."""
        meta = {"format": FORMAT, "info": asdict(self.info), "problems": [asdict(problem) for problem in self.problems]}
        return json.dumps(meta, ensure_ascii=False)

    def write(self, path: str | Path) -> None:
        """Writes `.parquet` (everything) or `.csv` (the filled columns; card and problems in `<stem>.card.json` beside it).

        Raises:
            BadManifest: Another ending.
        """
        path = Path(path)
        if path.suffix == ".parquet":
            path.write_bytes(self.to_bytes())
        elif path.suffix == ".csv":
            filled = [name for name in self.table if name == "id" or self.table[name].notna().any()]
            self.table[filled].to_csv(path, index=False)
            path.with_suffix(".card.json").write_text(self._card(), encoding="utf-8")
        else:
            raise BadManifest(
                str(path),
                f"has the ending '{path.suffix}', which is not a manifest format",
                "Give a name in .parquet or .csv.",
            )

    @classmethod
    def read(cls, path: str | Path) -> "Manifest":
        """Reads `.parquet` or `.csv`; relative audio and video paths are taken relative to the file and made absolute.

        Raises:
            BadManifest: No such file, or not a manifest.
        """
        import pandas as pd

        path = Path(path)
        if path.suffix not in (".parquet", ".csv"):
            raise BadManifest(
                str(path),
                f"has the ending '{path.suffix}', which is not a manifest format",
                "Give a file in .parquet or .csv.",
            )
        if not path.is_file():
            raise BadManifest(
                str(path), "the file does not exist", "Write it with ser data convert, or correct the path."
            )
        if path.suffix == ".parquet":
            manifest = cls.from_bytes(path.read_bytes(), str(path), ids_as_stored=False)
        else:
            manifest = _from_csv(path)
        base = path.resolve().parent
        for column in ("path", "video_path"):
            resolved = [None if value is None else str(base / value) for value in manifest.table[column]]
            manifest.table[column] = pd.Series(resolved, index=manifest.table.index, dtype=object)
        return manifest


def _unclean(unclean: dict[str, list[str]]) -> list[Problem]:
    """One problem for all names that had blanks around them or were not composed."""
    if not unclean:
        return []
    cells = ", ".join(f"{len(names):,} of {column} (as {names[0]!r})" for column, names in unclean.items())
    total = sum(len(names) for names in unclean.values())
    detail = f"blanks were removed from, or Unicode was composed in, {total:,} cells: {cells}"
    return [Problem("", "blanks in names", detail, dropped=False)]


def _alike(column: str, names: tuple[str, ...]) -> Problem:
    detail = f"{listing(map(repr, names))} differ only in case, blanks or Unicode form"
    return Problem("", "names alike", detail, f"column {column}", dropped=False)


def _read_card(raw: bytes, where: str) -> tuple[CorpusInfo, list[Problem]]:
    meta = json.loads(raw)
    if meta["format"] != FORMAT:
        problem = f"has manifest format {meta['format']}; this version knows {FORMAT}"
        raise BadManifest(where, problem, "Upgrade ser-fusion.")
    return CorpusInfo(**meta["info"]), [Problem(**problem) for problem in meta["problems"]]


def read_card_beside(path: Path) -> CorpusInfo | None:
    """The card in `<stem>.card.json` beside a table, or `None` where there is no such file.

    Raises:
        BadManifest: The file is not a card.
    """
    card = path.with_suffix(".card.json")
    if not card.is_file():
        return None
    try:
        return _read_card(card.read_bytes(), str(card))[0]
    except (ValueError, KeyError, TypeError) as error:
        remedy = "Write it again with ser data convert or join, or delete it."
        raise BadManifest(str(card), f"cannot be read as a card ({error})", remedy) from error


def _from_csv(path: Path) -> Manifest:
    try:
        table = csv_frame(path)
        card = path.with_suffix(".card.json")
        if card.is_file():
            info, problems = _read_card(card.read_bytes(), str(card))
        else:
            info, problems = CorpusInfo(name=path.stem, title=path.stem, licence="not stated"), []
    except BadManifest as error:
        raise BadManifest(str(path), f"cannot be read as a manifest: it {error.problem}", error.remedy) from error
    except (ValueError, KeyError, TypeError) as error:  # a card of something else
        remedy = "For a CSV of your own (path, label, ...) give --corpus csv --root FILE."
        raise BadManifest(str(path), f"cannot be read as a manifest ({str(error).splitlines()[0]})", remedy) from error
    try:
        return Manifest(table, info, problems)
    except BadManifest as error:
        raise BadManifest(str(path), error.problem, error.remedy) from None
