"""RAVDESS speech (Livingstone & Russo 2018): 1,440 files, 24 actors, 8 emotions, two fixed sentences, 88.8 min.

Everything stands in the name `MM-CC-EE-II-SS-RR-AA`. The two sentences carry no emotion, so a text branch must be at
chance: a negative control. `fold` holds EmoBox's six groups of actors. The archive is often unpacked twice (a second folder
inside the first): the copies are listed as duplicates.
"""

import re
from pathlib import Path
from typing import Any

from ser_data.corpora.base import AUDIO_SUFFIXES, length, require_folder, visible_files
from ser_data.errors import BadRoot
from ser_data.manifest.table import CorpusInfo, Manifest, Problem
from ser_data.protocols.given import RAVDESS_FOLD

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
SENTENCES = ("Kids are talking by the door.", "Dogs are sitting by the door.")
# modality, channel, emotion, intensity, sentence, repetition, actor
NAME = re.compile(r"(\d\d)-(\d\d)-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")


class Ravdess:
    """Reader of the audio files at any depth under the root."""

    info = CorpusInfo(
        name="ravdess",
        title="RAVDESS, Ryerson Audio-Visual Database of Emotional Speech and Song (speech)",
        licence="CC BY-NC-SA 4.0",
        citation="Livingstone & Russo 2018, PLoS ONE 13(5), doi:10.1371/journal.pone.0196391",
        url="https://zenodo.org/records/1188976",
        transcripts="script (two fixed sentences)",
        layout="Actor_{01..24}/03-01-EE-II-SS-RR-AA.wav (or .flac)",
        scheme="ravdess-8",
    )

    def read(self, root: Path, *, durations: bool = True) -> Manifest:
        """All utterances; see `Corpus.read`.

        Args:
            root: Folder with the `Actor_NN` folders at any depth.
            durations: Whether to read every file's header for its length.
        """
        import pandas as pd

        base = require_folder("ravdess", root)
        rows: dict[str, dict[str, Any]] = {}
        problems: list[Problem] = []
        for path in visible_files(base, AUDIO_SUFFIXES):
            where = str(path.relative_to(base))
            match = NAME.fullmatch(path.stem)
            if match is None:
                problems.append(Problem(path.stem, "bad id", "not MM-CC-EE-II-SS-RR-AA", where))
            elif match[1] not in ("01", "03") or match[2] != "01":
                problems.append(Problem(path.stem, "not speech", "modality or channel is not that of speech", where))
            elif path.stem in rows:
                problems.append(Problem(path.stem, "duplicate id", f"first in {rows[path.stem]['path']}", where))
            else:
                rows[path.stem] = _row(path, match, length(path) if durations else None)
        for name in [name for name in rows if name.startswith("01") and f"03{name[2:]}" in rows]:
            twin = f"03{name[2:]}"
            detail = f"the same take as {twin}, with pictures; the sound alone is used"
            problems.append(Problem(name, "twin", detail, str(Path(rows.pop(name)["path"]).relative_to(base))))
        if not rows:
            found = tuple(sorted(p.name for p in base.iterdir()))
            raise BadRoot("ravdess", str(root), "file such as Actor_01/03-01-01-01-01-01-01.wav", found)
        return Manifest(pd.DataFrame(list(rows.values())), self.info, problems)


def _row(path: Path, match: "re.Match[str]", seconds: float | None) -> dict[str, Any]:
    _, _, emotion, intensity, sentence, repetition, actor = match.groups()
    return {
        "id": path.stem,
        "path": str(path),
        "speaker": actor,
        "scripted": True,
        "gender": "male" if int(actor) % 2 else "female",
        "label": EMOTIONS[int(emotion) - 1],
        "text": SENTENCES[int(sentence) - 1],
        "duration": seconds,
        "fold": RAVDESS_FOLD[int(actor)],
        "intensity": "normal" if intensity == "01" else "strong",
        "repetition": repetition,
    }


CORPUS = Ravdess()
