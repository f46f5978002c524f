"""Weather reports (made up): SPEAKER/TEXT_EMOTION_TAKE.wav, two emotions.

Say here what the corpus is, what is odd about it, and what reading it costs.
"""

import re
from pathlib import Path

from ser_data.corpora.base import length, require_folder, visible_files
from ser_data.errors import BadRoot
from ser_data.manifest.table import CorpusInfo, Manifest, Problem

TEXTS = {"rain": "It will rain.", "sun": "The sun is out."}
NAME = re.compile(rf"({'|'.join(TEXTS)})_(happy|sad)_(\d)")


class Weather:
    """Reader of the wavs under the root."""

    info = CorpusInfo(
        name="weather",
        title="Weather reports",
        licence="CC0 1.0",
        citation="none",
        transcripts="script (two fixed sentences)",
        layout="SPEAKER/{rain,sun}_{happy,sad}_TAKE.wav",
    )

    def read(self, root: Path) -> Manifest:
        """All utterances; see `Corpus.read`."""
        import pandas as pd  # heavy imports inside: `ser data --help` loads no pandas

        base = require_folder("weather", root)
        rows, problems = [], []
        for path in visible_files(base, (".wav",)):  # sorted; without ._x and .DS_Store
            match = NAME.fullmatch(path.stem)
            if match is None:  # nothing is dropped in silence
                problems.append(Problem(path.stem, "bad id", "not TEXT_EMOTION_TAKE", str(path.relative_to(base))))
                continue
            text, label, take = match.groups()
            speaker = path.parent.name
            place = {"id": f"{speaker}_{path.stem}", "path": str(path), "speaker": speaker, "duration": length(path)}
            rows.append({**place, "label": label, "text": TEXTS[text], "take": take})  # `take` is carried along
        if not rows:
            raise BadRoot("weather", str(root), "wav such as ann/rain_sad_1.wav", tuple(p.name for p in base.iterdir()))
        return Manifest(pd.DataFrame(rows), self.info, problems)


CORPUS = Weather()
