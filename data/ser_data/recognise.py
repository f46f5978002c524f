"""Recognises which corpus lies at a path: by the files that only this corpus has, or by the grammar of its file names."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ser_base.errors import listing
from ser_data.corpora.base import AUDIO_SUFFIXES, names_in, near, visible_files
from ser_data.errors import BadRoot

SIGNS: dict[str, tuple[str, ...]] = {
    "demo": ("demo.json",),
    "iemocap": ("Session[1-5]/dialog/EmoEvaluation",),
    "meld": ("train_sent_emo.csv", "dev_sent_emo.csv", "test_sent_emo.csv"),
    "cremad": ("AudioWAV", "1[0-9][0-9][0-9]_[A-Z][A-Z][A-Z]_[A-Z][A-Z][A-Z]_*.*"),
    "msp-podcast": ("Labels/labels_consensus.csv", "Labels/labels_concensus.csv"),
    "cmu-mosei": ("CMU_MOSEI_Labels.csv",),
    "emorynlp": ("emotion-detection-trn.json", "emorynlp_train_final.csv"),
    "audformat": ("db.yaml",),
}
"""Corpus -> patterns of paths below its root, of which one is enough."""
TABLES = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl"}
MEANT = {
    "path": ("file", "filename", "file_name", "wav", "audio", "audio_path", "filepath", "file_path"),
    "label": ("emotion", "class", "category", "target", "emo", "sentiment"),
    "speaker": ("speaker_id", "spk", "spk_id", "actor", "subject", "participant"),
    "session": ("session_id", "recording", "rec_session"),
    "text": ("transcript", "transcription", "sentence", "utterance", "words"),
}
"""Column of a manifest -> what people call it."""
ENOUGH = 0.5
"""Share of the audio files whose names must follow the grammar of an acted corpus."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A corpus that lies at a path.

    Attributes:
        corpus: A name of `CORPORA`.
        root: What its reader takes as root; it may lie below the path.
        why: What it was recognised by.
    """

    corpus: str
    root: Path
    why: str


def recognise(path: Path) -> tuple[Recognised, ...]:
    """Says what may lie at a path, the most special reading first.

    Args:
        path: A folder, or a table file (`.csv`, `.tsv`, `.jsonl`).

    Raises:
        BadRoot: Nothing is there, or nothing that a reader of this package takes.
    """
    if path.is_file():
        kind = TABLES.get(path.suffix.lower())
        if kind is None:
            remedy = "Give a folder, a .csv or a .jsonl file. For a .parquet manifest: ser data convert --manifest FILE --out corpus.csv"
            raise BadRoot("csv", str(path), "table", (), remedy, f"is a {path.suffix or 'nameless'} file, not a table")
        return (Recognised(kind, path, "a table file"),)
    if not path.is_dir():
        raise BadRoot("", str(path), "", (), f"{near(path)}Give a folder or a table file.", "does not exist")
    readings: dict[str, Recognised] = {}
    for guess in _guesses(path):
        readings.setdefault(guess.corpus, guess)
    if not readings:
        kinds = f"neither audio files ({listing(AUDIO_SUFFIXES, 5)}) nor a table"
        remedy = "Give the folder of the recordings, or a CSV with the columns path and label."
        raise BadRoot("", str(path), "", (), remedy, f"holds {kinds}; it holds {listing(names_in(path), 8)}")
    return tuple(readings.values())


def _guesses(path: Path) -> Iterator[Recognised]:
    folders = sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    for root in (path, *folders):  # people often unpack an archive into a folder of its own
        for corpus, patterns in SIGNS.items():
            for pattern in patterns:
                if next(root.glob(pattern), None) is not None:
                    yield Recognised(corpus, root, f"it has {pattern}")
                    break
    yield from _acted(path)
    for table in sorted(path.glob("*.csv")):
        if table.name != "metadata.csv" and (column := _paths(table)):
            yield Recognised("csv", table, f"a table with a column {column}")
    if any(next(path.glob(pattern), None) for pattern in ("*.arrow", "*/*.arrow", "*.parquet", "data/*.parquet")):
        yield Recognised("hf", path, "it has .arrow or .parquet files")
    if next(visible_files(path, AUDIO_SUFFIXES), None) is not None:
        why = "metadata.csv" if (path / "metadata.csv").is_file() else "audio files in folders"
        yield Recognised("audiofolder", path, why)


def _acted(path: Path) -> Iterator[Recognised]:
    """Yields acted corpora whose grammar fits at least `ENOUGH` of the audio files, the best first."""
    from ser_data.corpora.acted import ACTED

    files = [*visible_files(path, AUDIO_SUFFIXES)]
    fitting = {name: sum(corpus.match(file) is not None for file in files) for name, corpus in ACTED.items()}
    for name in sorted(fitting, key=lambda name: -fitting[name]):
        if files and fitting[name] >= ENOUGH * len(files):
            yield Recognised(name, path, f"{fitting[name]:,} of {len(files):,} file names are {ACTED[name].grammar}")


def _paths(table: Path) -> str | None:
    """Finds the column of a table that seems to name files."""
    with open(table, encoding="utf-8", errors="replace") as file:
        header = file.readline().lstrip("\ufeff").strip().replace(";", ",").replace("\t", ",")
    names = [name.strip(' "').lower() for name in header.split(",")]
    return next((name for name in ("path", *MEANT["path"]) if name in names), None)


def same_place(path: Path) -> str:
    """Returns the path as it stands in `ser.toml`: relative to this folder if it lies in it, else absolute."""
    inside = os.path.relpath(path)
    return os.path.abspath(path) if inside.startswith("..") else inside
