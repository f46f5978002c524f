"""EmoDB (Burkhardt et al. 2005): 535 utterances, 10 speakers, 7 emotions, 10 fixed German sentences, 22.4 min.

The name holds everything: `03a01Fa` is speaker 03, sentence a01, emotion F (Freude, happiness), take a. The letters are
German: F is happiness and E is disgust (one public label table has F = disgust).
"""

import re
from pathlib import Path
from typing import Any

from ser_data.corpora.base import length, require_folder, visible_files
from ser_data.errors import BadRoot
from ser_data.manifest.table import CorpusInfo, Manifest, Problem

EMOTIONS = {
    "W": "anger",  # Wut
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fear",  # Angst
    "F": "happiness",  # Freude
    "T": "sadness",  # Trauer
    "N": "neutral",
}
MALE = frozenset({"03", "10", "11", "12", "15"})
AGES = {"03": 31, "08": 34, "09": 21, "10": 32, "11": 26, "12": 30, "13": 32, "14": 35, "15": 25, "16": 31}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
NAME = re.compile(rf"({'|'.join(AGES)})({'|'.join(SENTENCES)})([{''.join(EMOTIONS)}])([a-z])")


class EmoDb:
    """Reader of the wavs at any depth under the root."""

    info = CorpusInfo(
        name="emodb",
        title="EmoDB, Berlin Database of Emotional Speech",
        licence="CC0 1.0 as published in audeering/emodb",
        citation="Burkhardt et al. 2005, Interspeech, doi:10.21437/Interspeech.2005-446",
        url="https://github.com/audeering/emodb",
        transcripts="script (10 fixed sentences, German)",
        layout="wav/03a01Fa.wav",
        scheme="emodb-7",
    )

    def read(self, root: Path, *, durations: bool = True) -> Manifest:
        """All utterances; see `Corpus.read`.

        Args:
            root: Folder with the wavs at any depth.
            durations: Whether to read every file's header for its length.
        """
        import pandas as pd

        base = require_folder("emodb", root)
        rows: dict[str, dict[str, Any]] = {}
        problems: list[Problem] = []
        for path in visible_files(base, (".wav", ".flac")):
            where = str(path.relative_to(base))
            match = NAME.fullmatch(path.stem)
            if match is None:
                problems.append(Problem(path.stem, "bad id", "not SPEAKER SENTENCE EMOTION TAKE, as 03a01Fa", where))
            elif path.stem in rows:
                problems.append(Problem(path.stem, "duplicate id", f"first in {rows[path.stem]['path']}", where))
            else:
                speaker, sentence, emotion, _ = match.groups()
                rows[path.stem] = {
                    "id": path.stem,
                    "path": str(path),
                    "speaker": speaker,
                    "scripted": True,
                    "gender": "male" if speaker in MALE else "female",
                    "label": EMOTIONS[emotion],
                    "text": SENTENCES[sentence],
                    "duration": length(path) if durations else None,
                    "age": AGES[speaker],
                }
        if not rows:
            found = tuple(sorted(p.name for p in base.iterdir()))
            raise BadRoot("emodb", str(root), "file such as wav/03a01Fa.wav", found)
        return Manifest(pd.DataFrame(list(rows.values())), self.info, problems)


CORPUS = EmoDb()
