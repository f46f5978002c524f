"""CMU-MOSEI (Bagher Zadeh et al. 2018): 23,259 labelled segments of videos, six emotions, sentiment from -3 to 3.

The labels come from `CMU_MOSEI_Labels.csv`, which s3prl publishes with the standard parts. Its label is the largest of six
intensities, and happiness where all six are 0. With the authors' `CMU_MOSEI_Labels.csd` beside it, such segments are `neutral`,
and `valence` is the exact sentiment; without, it is rounded to seven steps. Segments of videos in no standard part have none.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ser_data.corpora.base import AUDIO_SUFFIXES, names_in, require_folder, visible_files
from ser_data.errors import BadRoot
from ser_data.manifest.csv_file import read_csv
from ser_data.manifest.table import CorpusInfo, Manifest, Problem

LABELS = ("happiness", "sadness", "anger", "surprise", "disgust", "fear")
PARTS = {"0": "train", "1": "dev", "2": "test", "3": None}
Segment = tuple[str, float, float]
"""Video, start and end in seconds."""
WORDS_LINE = re.compile(r"(.+?)___\d+___(-?[\d.]+)___(-?[\d.]+)___(.*)")
TABLE, INTENSITIES = "CMU_MOSEI_Labels.csv", "CMU_MOSEI_Labels.csd"


class Mosei:
    """Reader of the label table, with the intensities, recordings and transcripts that lie below the root."""

    info = CorpusInfo(
        name="cmu-mosei",
        title="CMU-MOSEI, Multimodal Opinion Sentiment and Emotion Intensity",
        licence="see the authors' page; the videos are of YouTube",
        citation="Bagher Zadeh et al. 2018, ACL, doi:10.18653/v1/P18-1208",
        url="http://multicomp.cs.cmu.edu/resources/cmu-mosei-dataset/",
        transcripts="human, from Transcript/Segmented/Combined/ if it is there",
        layout=f"{TABLE} of s3prl, {INTENSITIES}, Raw/Audio/Full/WAV_16000/VIDEO.wav or Segmented_Audio/PART/VIDEO_NUMBER.wav",
    )

    def read(self, root: Path) -> Manifest:
        """Reads all segments; see `Corpus.read`.

        Args:
            root: Folder that holds the files at any depth.
        """
        import pandas as pd

        base = require_folder("cmu-mosei", root)
        files = {path.name: path for path in visible_files(base, (".csv", ".csd"))}
        if TABLE not in files:
            remedy = f"Put {TABLE} of s3prl (downstream/mosei/utility) into {root}."
            raise BadRoot("cmu-mosei", str(root), f"file {TABLE}", names_in(base), remedy)
        problems: list[Problem] = []
        intensities = _intensities(files[INTENSITIES]) if INTENSITIES in files else None
        if intensities is None:
            detail = f"without {INTENSITIES}, segments without any emotion count as happiness"
            problems.append(Problem("", "missing label", detail, TABLE, dropped=False))
        audio = {path.stem: path for path in visible_files(base, AUDIO_SUFFIXES)}
        texts = dict(_texts(base))
        rows: dict[str, dict[str, Any]] = {}
        for line, row in read_csv(files[TABLE], delimiters=",").rows:
            where = f"{TABLE}, line {line}"
            if isinstance(row, str):
                problems.append(Problem("", "bad row", row, where))
                continue
            try:
                own = _row(row, intensities, texts, audio)
            except (KeyError, ValueError, IndexError, TypeError) as error:
                problems.append(Problem("", "bad row", f"{type(error).__name__}: {error}", where))
                continue
            if audio and own["path"] is None:
                problems.append(Problem(own["id"], "missing file", f"not among {len(audio):,} audio files", where))
            elif own["id"] in rows:
                problems.append(Problem(own["id"], "duplicate id", "the first one is used", where))
            else:
                rows[own["id"]] = own
        return Manifest(pd.DataFrame(list(rows.values()), columns=None if rows else ["id"]), self.info, problems)


def _row(
    row: dict[str, str], intensities: dict[str, Any] | None, texts: dict[Segment, str], audio: dict[str, Path]
) -> dict[str, Any]:
    video, number, start, end = row["file"], int(row["index"]), float(row["start"]), float(row["end"])
    label, sentiment = LABELS[int(row["label6"])], float(row["label7"])
    if intensities is not None:
        exact = intensities[video][number]
        sentiment, label = float(exact[0]), label if exact[1:].max() > 0 else "neutral"
    segment = audio.get(f"{video}_{number}")
    recording = audio.get(video) if segment is None else None
    return {
        "id": f"{video}_{number}",
        "path": None if (path := segment or recording) is None else str(path),
        "start": None if recording is None else max(0.0, start),
        "end": None if recording is None else end,
        "duration": round(end - max(0.0, start), 3),
        "dialogue": video,
        "scripted": False,
        "label": label,
        "valence": sentiment,
        "text": texts.get((video, round(start, 3), round(end, 3))),
        "part": PARTS[row["split"]],
    }


def _intensities(path: Path) -> dict[str, Any]:
    """Returns video -> (segments, 7): sentiment, then the intensities in the order of `LABELS`."""
    import h5py

    with h5py.File(path, "r") as file:
        return {video: node["features"][()] for video, node in file["All Labels/data"].items()}


def _texts(base: Path) -> Iterator[tuple[Segment, str]]:
    """Yields the words of the segmented transcripts, whose lines are VIDEO___NUMBER___START___END___WORDS."""
    for path in visible_files(base, (".txt",)):
        lines = (
            path.read_text(encoding="utf-8", errors="replace").splitlines() if path.parent.name == "Combined" else []
        )
        for line in lines:
            if match := WORDS_LINE.fullmatch(line.strip()):
                yield (match[1], round(float(match[2]), 3), round(float(match[3]), 3)), match[4].strip("_ ")


CORPUS = Mosei()
