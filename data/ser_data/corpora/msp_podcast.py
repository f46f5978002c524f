"""MSP-Podcast (Lotfian & Busso 2019): spontaneous speech of podcasts, ten labels, ratings from 1 to 7, parts by speaker.

The releases differ in size, so no counts are compared. `labels_consensus.csv` is spelt `labels_concensus.csv` in the early
ones, and their development part is called Validation.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ser_base.errors import UnknownName
from ser_data.corpora.base import AUDIO_SUFFIXES, length, names_in, require_folder, visible_files
from ser_data.errors import BadRoot
from ser_data.manifest.csv_file import read_csv
from ser_data.manifest.table import CorpusInfo, Manifest, Problem

LABELS = {
    "A": "anger", "C": "contempt", "D": "disgust", "F": "fear", "H": "happiness", "N": "neutral", "S": "sadness",
    "U": "surprise", "O": "other", "X": "no-agreement",
}  # fmt: skip
TABLES = ("labels_consensus.csv", "labels_concensus.csv")
TESTS = ("Test1", "Test2", "Test3")
PARTS = {"Train": "train", "Validation": "dev", "Development": "dev"}
RATINGS = {"valence": "EmoVal", "arousal": "EmoAct", "dominance": "EmoDom"}


class MspPodcast:
    """Reader of the label table, with the recordings and transcripts that lie beside it."""

    info = CorpusInfo(
        name="msp-podcast",
        title="MSP-Podcast",
        licence="research, by a signed agreement",
        citation="Lotfian & Busso 2019, IEEE Trans. Affective Computing 10(4), doi:10.1109/TAFFC.2017.2736999",
        url="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html",
        transcripts="human, from Transcripts/ if it is there",
        layout="Labels/labels_consensus.csv, Audios/MSP-PODCAST_0001_0008.wav, Transcripts/MSP-PODCAST_0001_0008.txt",
        scheme="msp-podcast-8",
    )

    def read(self, root: Path, *, test: str = "Test1", durations: bool = True) -> Manifest:
        """Reads all segments; see `Corpus.read`.

        Args:
            root: Folder with `Labels` and `Audios`.
            test: Which test set is the part `test`: `Test1`, `Test2` or `Test3`. The others are in no part.
            durations: Whether to read every file's header for its length.
        """
        import pandas as pd

        if test not in TESTS:
            raise UnknownName("test", test, TESTS)
        base = require_folder("msp-podcast", root)
        places = (folder / name for folder in (base / "Labels", base) for name in TABLES)
        table = next((path for path in places if path.is_file()), None)
        if table is None:
            raise BadRoot("msp-podcast", str(root), "file Labels/labels_consensus.csv", names_in(base))
        problems: list[Problem] = []
        rows: dict[str, dict[str, Any]] = {}
        for where, row in _rows(table, {**PARTS, test: "test"}, problems):
            if row["id"] in rows:
                problems.append(Problem(row["id"], "duplicate id", "the first one is used", where))
            else:
                rows[row["id"]] = row
        audio = {path.stem: path for path in visible_files(base, AUDIO_SUFFIXES)}
        words = base / "Transcripts"
        for name, row in list(rows.items()):
            path = audio.get(name)
            if path is None and audio:
                problems.append(Problem(name, "missing file", f"not among {len(audio):,} audio files", table.name))
                del rows[name]
                continue
            row["path"] = None if path is None else str(path)
            row["duration"] = length(path) if path is not None and durations else None
            if (transcript := words / f"{name}.txt").is_file():
                row["text"] = " ".join(transcript.read_text(encoding="utf-8-sig", errors="replace").split())
        return Manifest(pd.DataFrame(list(rows.values()), columns=None if rows else ["id"]), self.info, problems)


def _rows(table: Path, parts: dict[str, str], problems: list[Problem]) -> Iterator[tuple[str, dict[str, Any]]]:
    content = read_csv(table, errors="replace", delimiters=",")
    problems += [Problem("", *note, table.name, dropped=False) for note in content.notes]
    for line, row in content.rows:
        where = f"{table.name}, line {line}"
        if isinstance(row, str):
            problems.append(Problem("", "bad row", row, where))
            continue
        try:
            name, letter, split = Path(row["FileName"]).stem, row["EmoClass"], row["Split_Set"]
            ratings = {name: float(row[column]) for name, column in RATINGS.items()}
        except (KeyError, ValueError) as error:
            problems.append(Problem("", "bad row", f"{type(error).__name__}: {error}", where))
            continue
        if letter not in LABELS:
            problems.append(Problem(name, "unknown label", f"'{letter}'", where))
            continue
        speaker = row.get("SpkrID", "")
        yield (
            where,
            {
                "id": name,
                "speaker": None if speaker.lower() in ("", "unknown") else speaker,
                "dialogue": name.rpartition("_")[0] or None,
                "gender": {"male": "male", "female": "female"}.get(row.get("Gender", "").lower()),
                "scripted": False,
                "label": LABELS[letter],
                "part": parts.get(split),
                "split": split,
                **ratings,
            },
        )


CORPUS = MspPodcast()
