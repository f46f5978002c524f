"""A local folder of the Hugging Face `datasets` library: `save_to_disk` (Arrow) or a repository's `data/*.parquet`.

Read with pyarrow alone; the `datasets` package is not needed, and no loading script is ever run. Audio that lies inside
the tables is written out once as files under `audio_dir` (default: the user's cache folder), named by its hash. Columns are
found by name (`label`/`emotion`, `text`/`transcription`, `speaker`/`speaker_id`) or given, as `label="emotion"`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from ser_base.errors import listing
from ser_base.files import write_whole
from ser_data.corpora.base import PathEscapes, contained, length, names_in, require_folder
from ser_data.errors import BadManifest, BadRoot
from ser_data.manifest.table import CorpusInfo, Manifest, Problem
from ser_data.manifest.text import as_name

if TYPE_CHECKING:
    import pyarrow as pa

NAMES = {
    "label": ("label", "emotion", "labels", "emotions", "major_emotion"),
    "text": ("text", "transcription", "transcript", "sentence", "utterance"),
    "speaker": ("speaker", "speaker_id", "actor", "spk"),
    "id": ("id", "utterance_id", "file_id", "key"),
    "gender": ("gender", "sex"),
    "session": ("session",),
}
PARTS = {"train": "train", "validation": "dev", "valid": "dev", "dev": "dev", "test": "test"}
# What encoded audio starts with -> ending of the file that it is written to
_MAGIC = ((b"RIFF", ".wav"), (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"ID3", ".mp3"), (b"\xff\xfb", ".mp3"))


class HuggingFace:
    """Reader of a local `datasets` folder."""

    info = CorpusInfo(
        name="hf",
        title="local Hugging Face data set",
        licence="as its data card says",
        url="https://huggingface.co/docs/datasets",
        transcripts="as given",
        layout="dataset_info.json + data-*.arrow (save_to_disk, also one folder per split), or [data/]SPLIT-*.parquet",
    )

    def read(
        self,
        root: Path,
        *,
        label: str | None = None,
        text: str | None = None,
        speaker: str | None = None,
        audio_dir: Path | None = None,
        durations: bool = True,
    ) -> Manifest:
        """All rows; see `Corpus.read`.

        Args:
            root: The folder.
            label: The data set's column with the label, where its name does not say it.
            text: The same for the text.
            speaker: The same for the speaker.
            audio_dir: Where audio from inside the tables is written; `None` for the user's cache folder.
            durations: Whether to read every file's header for its length.
        """
        import pandas as pd

        options = {"label": label, "text": text, "speaker": speaker}
        chosen = {target: source for target, source in options.items() if source is not None}
        base = require_folder("hf", root)
        rows: list[dict[str, Any]] = []
        problems: list[Problem] = []
        for split, file, table in _tables(base, root):
            columns = _columns(table, chosen, file)
            names = _class_names(table, file, columns.get("label"))
            for number, raw in enumerate(table.to_pylist()):
                where = f"{file.relative_to(base)}, row {number}"
                row = {target: raw[source] for target, source in columns.items() if target != "audio"}
                ident = as_name(row.get("id")) or f"{split or 'row'}-{len(rows) + len(problems):06d}"
                if names and isinstance(row.get("label"), int):
                    named = 0 <= row["label"] < len(names)
                    row["label"] = names[row["label"]] if named else None
                path = _audio(raw.get(columns.get("audio", "")), base, audio_dir)
                if isinstance(path, str):
                    problems.append(Problem(ident, "missing file", path, where))
                    continue
                rows.append(
                    {**row, "id": ident, "path": None if path is None else str(path), "part": PARTS.get(split),
                     "duration": length(path) if path is not None and durations else None}
                )  # fmt: skip
        if not rows:
            raise BadManifest(
                str(root), f"no usable row; {listing(map(str, problems), 2)}", "Check the data set's columns."
            )
        return Manifest(pd.DataFrame(rows).drop_duplicates("id"), self.info, [*problems, *_twice(rows)])


def _twice(rows: list[dict[str, Any]]) -> Iterator[Problem]:
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            yield Problem(row["id"], "duplicate id", "the first one is used")
        seen.add(row["id"])


def _tables(base: Path, root: Path) -> Iterator[tuple[str, Path, "pa.Table"]]:
    """Split name, file and content of every table of the folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrows = sorted(base.glob("*.arrow")) + sorted(base.glob("*/*.arrow"))
    parquets = sorted(base.glob("*.parquet")) + sorted(base.glob("data/*.parquet"))
    if not arrows and not parquets:
        raise BadRoot(
            "hf", str(root), "file *.arrow or *.parquet", names_in(base), "Give the folder that save_to_disk wrote."
        )
    for file in arrows or parquets:
        try:
            if file.suffix == ".arrow":
                split = file.parent.name if file.parent != base else ""
                yield split, file, pa.ipc.open_stream(file.read_bytes()).read_all()
            else:
                yield file.name.split("-")[0].removesuffix(".parquet"), file, pq.read_table(file)
        except (pa.ArrowException, OSError) as error:
            raise BadManifest(str(file), f"cannot be read ({str(error).splitlines()[0]})", "Save it again.") from error


def _columns(table: "pa.Table", chosen: dict[str, str], file: Path) -> dict[str, str]:
    """Manifest column (and `audio`) -> the table's column."""
    import pyarrow as pa

    there = table.schema.names
    for target, source in chosen.items():
        if source not in there:
            raise BadManifest(str(file), f"no column '{source}' for {target}; it has {listing(there)}", "Name another.")
    columns = dict(chosen)
    for target, names in NAMES.items():
        match = next((name for name in there if name.lower() in names), None)
        if target not in columns and match:
            columns[target] = match
    for entry in table.schema:
        if pa.types.is_struct(entry.type) and {"bytes", "path"} <= {part.name for part in entry.type}:
            columns.setdefault("audio", entry.name)
    if "audio" not in columns and "text" not in columns:
        raise BadManifest(str(file), f"neither audio nor text among {listing(there)}", "Give --option text=COLUMN.")
    return columns


def _class_names(table: "pa.Table", file: Path, column: str | None) -> list[str]:
    """Names of a ClassLabel column, from the schema's metadata or `dataset_info.json`; empty if labels are plain."""
    raw = (table.schema.metadata or {}).get(b"huggingface")
    infos = [json.loads(raw).get("info", {})] if raw else []
    beside = file.parent / "dataset_info.json"
    if beside.is_file():
        infos.append(json.loads(beside.read_text(encoding="utf-8")))
    for info in infos:
        feature = (info.get("features") or {}).get(column or "")
        if isinstance(feature, dict) and isinstance(feature.get("names"), list):
            return [str(name) for name in feature["names"]]
    return []


def _audio(value: Any, base: Path, audio_dir: Path | None) -> Path | str | None:
    """The row's audio file, written out if it lies in the table; a text says why it is missing; `None`: no audio column."""
    if value is None:
        return None
    data, name = value.get("bytes"), value.get("path")
    if data:
        from platformdirs import user_cache_path

        folder = audio_dir or user_cache_path("ser-fusion") / "hf-audio"
        ending = next((suffix for magic, suffix in _MAGIC if data.startswith(magic)), ".audio")
        path = folder / f"{xxhash.xxh3_128_hexdigest(data)}{ending}"
        if not (path.is_file() and path.stat().st_size == len(data)):  # a killed writer may have left a part of it
            write_whole(path, data)
        return path
    try:
        path = contained(base, str(name or ""))
    except PathEscapes as error:
        return str(error).splitlines()[0]
    return path if path.is_file() else f"{path} is not there and the table holds no bytes"


CORPUS = HuggingFace()
