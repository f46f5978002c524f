"""CREMA-D (Cao et al. 2014): 7,442 clips of 91 actors, 6 emotions, 12 fixed sentences, crowd votes per clip.

`label` is the emotion that was acted; `votes` are the raters' answers to the voice alone, real soft labels. With
`label_from="votes"` the label is the voice vote's majority, and clips without one are listed as dropped. The sentences
carry no emotion.
"""

import csv
import json
import re
from pathlib import Path
from typing import Any

from ser_data.corpora.base import length, require_folder, visible_files
from ser_data.errors import BadRoot
from ser_data.manifest import CorpusInfo, Manifest, Problem

EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
LETTERS = {name[0].upper(): name for name in EMOTIONS.values()}
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"}
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
NAME = re.compile(rf"(1\d{{3}})_({'|'.join(SENTENCES)})_({'|'.join(EMOTIONS)})_(LO|MD|HI|XX|X)")
_VOICE = "1"  # first digit of the row number in tabulatedVotes.csv: 1 voice, 2 face, 3 both


class CremaD:
    """Reader of the repository's `AudioWAV`, its vote table and its table of actors."""

    info = CorpusInfo(
        name="cremad",
        title="CREMA-D, Crowd-sourced Emotional Multimodal Actors Dataset",
        licence="Open Database License 1.0, contents DbCL 1.0",
        citation="Cao et al. 2014, IEEE Trans. Affective Computing 5(4), doi:10.1109/TAFFC.2014.2336244",
        url="https://github.com/CheyneyComputerScience/CREMA-D",
        transcripts="script (12 fixed sentences)",
        layout="AudioWAV/1001_DFA_ANG_XX.wav (Git LFS), processedResults/tabulatedVotes.csv, VideoDemographics.csv",
        scheme="cremad-6",
    )

    def read(self, root: Path, *, label_from: str = "acted", durations: bool = True) -> Manifest:
        """All clips; see `Corpus.read`.

        Args:
            root: The repository's folder, or `AudioWAV` itself.
            label_from: `acted` or `votes` (majority of the voice votes).
            durations: Whether to read every file's header for its length.
        """
        import pandas as pd

        if label_from not in ("acted", "votes"):
            raise TypeError(f"label_from is '{label_from}'; known are acted, votes")
        base = require_folder("cremad", root)
        audio = base / "AudioWAV" if (base / "AudioWAV").is_dir() else base
        home = audio.parent
        votes = _votes(home / "processedResults" / "tabulatedVotes.csv")
        actors = _actors(home / "VideoDemographics.csv")
        rows: dict[str, dict[str, Any]] = {}
        problems: list[Problem] = []
        for path in visible_files(audio, (".wav", ".flac")):
            row = _row(path, votes, actors, label_from, problems)
            if row is None:
                continue
            if path.stat().st_size < 1024 and path.read_bytes().startswith(b"version https://git-lfs"):
                problems.append(Problem(path.stem, "git-lfs pointer", "run git lfs pull in the corpus", path.name))
            elif path.stem in rows:
                problems.append(Problem(path.stem, "duplicate id", f"first in {rows[path.stem]['path']}", str(path)))
            else:
                rows[path.stem] = {**row, "duration": length(path) if durations else None}
        if not rows:
            found = tuple(str(p) for p in problems[:2]) or tuple(sorted(p.name for p in base.iterdir()))
            raise BadRoot("cremad", str(root), "clip such as AudioWAV/1001_DFA_ANG_XX.wav", found)
        return Manifest(pd.DataFrame(list(rows.values())), self.info, problems)


def _row(
    path: Path,
    votes: dict[str, dict[str, int]],
    actors: dict[str, dict[str, str]],
    label_from: str,
    problems: list[Problem],
) -> dict[str, Any] | None:
    match = NAME.fullmatch(path.stem)
    if match is None:
        problems.append(Problem(path.stem, "bad id", "not ACTOR_SENTENCE_EMOTION_LEVEL", path.name))
        return None
    actor, sentence, emotion, level = match.groups()
    counts = votes.get(path.stem, {})
    label = EMOTIONS[emotion]
    if label_from == "votes":
        best = [name for name in counts if counts[name] == max(counts.values())]
        if len(best) != 1:
            detail = f"voice votes {counts}" if counts else "no voice votes"
            problems.append(Problem(path.stem, "no majority", detail, path.name))
            return None
        label = best[0]
    about = actors.get(actor, {})
    return {
        "id": path.stem,
        "path": str(path),
        "speaker": actor,
        "scripted": True,
        "gender": about.get("Sex", "").lower() or None,
        "label": label,
        "votes": json.dumps(counts) if counts else None,
        "text": SENTENCES[sentence],
        "acted": EMOTIONS[emotion],
        "level": LEVELS.get(level, "unspecified"),
        "age": about.get("Age"),
        "race": about.get("Race"),
        "ethnicity": about.get("Ethnicity"),
    }


def _votes(path: Path) -> dict[str, dict[str, int]]:
    """Clip -> emotion -> number of raters who heard it in the voice; empty without the table."""
    if not path.is_file():
        return {}
    votes: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        first = (reader.fieldnames or [""])[0]
        for row in reader:
            if (row[first] or "").startswith(_VOICE):
                counts = {name: int(float(row.get(letter) or 0)) for letter, name in LETTERS.items()}
                votes[Path(row["fileName"]).stem] = {name: count for name, count in counts.items() if count}
    return votes


def _actors(path: Path) -> dict[str, dict[str, str]]:
    """Actor -> the row of `VideoDemographics.csv`; empty without the table."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {row["ActorID"]: dict(row) for row in csv.DictReader(file)}


CORPUS = CremaD()
