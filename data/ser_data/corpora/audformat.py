"""A database in audformat (audEERING): `db.yaml` with tables in CSV or Parquet, as audb publishes hundreds of corpora.

Read without the audformat package: the header with a safe YAML loader, tables as CSV or Parquet, never as pickle. Needs
`pip install pyyaml`. The label's table and column are found by name (`emotion`, `category`, ...), or given as `column="emotion"`.
`db.yaml` is an archive: it may not name files outside of its folder.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_base.errors import PackageMissing, listing
from ser_data.corpora.base import PathEscapes, contained, length, names_in, require_folder
from ser_data.errors import BadManifest, BadRoot
from ser_data.manifest.csv_file import csv_frame
from ser_data.manifest.table import CorpusInfo, Manifest, Problem
from ser_data.manifest.text import clean_name
from ser_data.media.files import with_near_names

if TYPE_CHECKING:
    import pandas as pd

LABEL_COLUMNS = ("emotion", "emotion.categories", "category", "label")
_CARRIED = {"speaker": "speaker", "session": "session", "transcription": "text", "transcript": "text", "text": "text", "gender": "gender", "sex": "gender", "dialogue": "dialogue", "scenario": "scenario"}  # fmt: skip


class AudFormat:
    """Reader of a database folder."""

    info = CorpusInfo(
        name="audformat",
        title="database in audformat",
        licence="as db.yaml says",
        url="https://audeering.github.io/audformat/",
        transcripts="as given",
        layout="db.yaml, db.TABLE.csv or db.TABLE.parquet, audio files",
    )

    def read(
        self, root: Path, *, table: str | None = None, column: str | None = None, durations: bool = True, **options: Any
    ) -> Manifest:
        """All rows of the label's table; see `Corpus.read`.

        Args:
            root: Folder with `db.yaml`.
            table: Table with the labels; `None` for the first that has the column.
            column: Column with the labels; `None` for the first of `LABEL_COLUMNS`.
            durations: Whether to read the headers of whole files for their length.
        """
        import pandas as pd

        base = require_folder("audformat", root)
        header = _header(base, root)
        name, label = _label_column(base, header, table, column)
        frame = _load(base, name)
        carried = _carried(label, frame)
        problems: list[Problem] = []
        rows: list[dict[str, Any]] = []
        seen: set[str] = set()
        for number, raw in enumerate(frame.to_dict("records"), 2):
            where = f"db.{name}, line {number}"
            name_in_table = str(raw["file"]).strip()
            start, end = _time(raw.get("start")), _time(raw.get("end"))
            ident = clean_name(name_in_table.rsplit(".", 1)[0]) + (f"@{start:g}" if start else "")
            try:
                path = contained(base, name_in_table)
            except PathEscapes as error:
                problems.append(Problem(ident, "path escapes", error.why, where))
                continue
            value = raw[label]
            if ident in seen:
                problems.append(Problem(ident, "duplicate id", "the first one is used", where))
            elif not path.is_file():
                problems.append(Problem(ident, "missing file", with_near_names(path), where))
            else:
                seen.add(ident)
                lasts = None if end is None else end - (start or 0.0)
                if lasts is None and durations:
                    lasts = length(path)
                row = {target: raw[source] for source, target in carried.items()}
                row |= {"id": ident, "path": str(path), "start": start, "end": end, "duration": lasts}
                rows.append({**row, "label": None if pd.isna(value) else str(value)})
        if not rows:
            raise BadManifest(
                str(root),
                f"no usable row in {name}; {listing(map(str, problems), 2)}",
                "Fetch the media files as well.",
            )
        info = replace(
            self.info,
            title=str(header.get("name", base.name)),
            licence=str(header.get("license") or "not stated"),
            citation=str(header.get("author") or ""),
            url=str(header.get("source") or ""),
        )
        return Manifest(pd.DataFrame(rows), info, problems)


def _header(base: Path, root: Path) -> dict[str, Any]:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise PackageMissing("the corpus 'audformat'", "pyyaml") from error
    path = base / "db.yaml"
    if not path.is_file():
        raise BadRoot("audformat", str(root), "file db.yaml", names_in(base))
    try:
        header = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadManifest(
            str(path), f"is not YAML ({str(error).splitlines()[0]})", "Fetch the database again."
        ) from error
    if not isinstance(header, dict) or not isinstance(header.get("tables"), dict):
        raise BadManifest(str(path), "has no tables", "Give the folder of an audformat database.")
    return header


def _label_column(base: Path, header: dict[str, Any], table: str | None, column: str | None) -> tuple[str, str]:
    has = {name: list((value or {}).get("columns") or {}) for name, value in header["tables"].items()}
    wanted = (column,) if column else LABEL_COLUMNS
    for label in wanted:
        for name in (table,) if table else sorted(has):
            if label in has.get(name, ()):
                return str(name), str(label)
    there = listing(f"{name}: {', '.join(columns)}" for name, columns in sorted(has.items()))
    problem = f"no table with a column {listing(wanted)}; tables and columns are {there}"
    raise BadManifest(str(base / "db.yaml"), problem, "Give --option table=NAME --option column=NAME.")


def _load(base: Path, name: str) -> "pd.DataFrame":
    import pandas as pd

    path = contained(base, f"db.{name}")
    if (file := path.with_name(path.name + ".parquet")).is_file():
        return pd.read_parquet(file).reset_index().drop(columns=["index"], errors="ignore")
    if (file := path.with_name(path.name + ".csv")).is_file():
        frame = csv_frame(file)
        return frame.where(frame != "", None)
    there = tuple(sorted(p.name for p in base.glob("db.*")))
    raise BadRoot(
        "audformat",
        str(base),
        f"file db.{name}.csv or .parquet",
        there,
        "Save the database as CSV or Parquet. Pickled tables are not read.",
    )


def _carried(label: str, frame: "pd.DataFrame") -> dict[str, str]:
    """Columns of the table that have a place in the manifest: own name -> manifest column."""
    carried: dict[str, str] = {}
    for source, target in _CARRIED.items():
        if source in frame.columns and source != label and target not in carried.values():
            carried[source] = target
    return carried


def _time(value: Any) -> float | None:
    """Seconds of a Timedelta, or of its text in a CSV; `None` if empty."""
    import pandas as pd

    if value is None or pd.isna(value) or value == "":
        return None
    return float(pd.Timedelta(value).total_seconds())


CORPUS = AudFormat()
