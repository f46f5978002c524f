"""CREMA-D (Cao et al. 2014): 7,442 clips of 91 actors, 6 emotions, 12 fixed sentences, crowd votes per clip.

`label` is the emotion that was acted; `votes` are the raters' answers to the voice alone, real soft labels. With
`label_from="votes"` the label is the voice vote's majority, and clips without one are listed as dropped. The sentences
carry no emotion.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ser_base.errors import UnknownName
from ser_data.corpora.base import length, names_in, require_folder, visible_files
from ser_data.errors import BadRoot
from ser_data.manifest.csv_file import read_csv
from ser_data.manifest.table import CorpusInfo, Manifest, Problem
from ser_data.manifest.text import clean_name

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
            raise UnknownName("label_from", label_from, ("acted", "votes"))
        base = require_folder("cremad", root)
        audio = base / "AudioWAV" if (base / "AudioWAV").is_dir() else base
        home = audio.parent
        problems: list[Problem] = []
        votes = _votes(home / "processedResults" / "tabulatedVotes.csv", problems)
        actors = _actors(home / "VideoDemographics.csv", problems)
        rows: dict[str, dict[str, Any]] = {}
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
            others = tuple(str(p) for p in problems[:2]) or names_in(base)
            raise BadRoot("cremad", str(root), "clip such as AudioWAV/1001_DFA_ANG_XX.wav", others)
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


def _votes(path: Path, problems: list[Problem]) -> dict[str, dict[str, int]]:
    """Clip -> emotion -> number of raters who heard it in the voice; empty without the table."""
    votes: dict[str, dict[str, int]] = {}
    for line, row in _rows(path, problems):
        if next(iter(row.values())).strip().startswith(_VOICE):
            try:
                counts = {name: int(float(row.get(letter) or 0)) for letter, name in LETTERS.items()}
                votes[Path(clean_name(row["fileName"])).stem] = {name: count for name, count in counts.items() if count}
            except (KeyError, ValueError) as error:
                what = f"{type(error).__name__}: {error}"
                problems.append(Problem("", "bad row", what, f"{path.name}, line {line}", dropped=False))
    return votes


def _actors(path: Path, problems: list[Problem]) -> dict[str, dict[str, str]]:
    """Actor -> the row of `VideoDemographics.csv`; empty without the table."""
    return {clean_name(row.get("ActorID", "")): row for _, row in _rows(path, problems)}


def _rows(path: Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and row of one of the repository's tables; nothing without the table. Bad rows become problems."""
    if not path.is_file():
        return
    table = read_csv(path, errors="replace", delimiters=",")
    problems += [Problem("", *note, path.name, dropped=False) for note in table.notes]
    for line, row in table.rows:
        if isinstance(row, str):
            problems.append(Problem("", "bad row", row, f"{path.name}, line {line}", dropped=False))
        else:
            yield line, row


CORPUS = CremaD()
