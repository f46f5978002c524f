"""The demo corpus: synthetic speech in the shape and the directory grammar of IEMOCAP, made where it is first read.

About 700 utterances, 10 voices, 7 classes, 31 minutes of 16 kHz wav (59 MB), the same every time; making it takes about
15 s. Words and voice each carry a part of the emotion (`ser_data.synthetic`), so that a fusion of both is better than either
alone. No human spoke: scores on it say that a pipeline works, and nothing about speech emotion recognition.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ser_base.errors import listing
from ser_base.files import write_whole
from ser_base.progress import counting
from ser_data.corpora.iemocap_files import HEADER, WORDS, rating_line, summary_line, transcript_line, vote_line
from ser_data.errors import BadRoot
from ser_data.manifest.table import CorpusInfo, Manifest
from ser_data.media.sound_file import write_wav

if TYPE_CHECKING:
    from ser_data.synthetic.screenplay import Turn

VERSION = 1
"""Raised when the corpus sounds or reads otherwise; a folder of another version is refused."""

RATE = 16_000
MARKER: Final = "demo.json"
MANIFEST: Final = "manifest.parquet"

INFO: Final = CorpusInfo(
    name="demo",
    title="SER Fusion demo corpus (synthetic speech)",
    licence="Apache-2.0 (own sentences, spoken by espeak-ng)",
    citation="none: synthetic, for demonstration only",
    synthetic=True,
    transcripts="the sentences that were spoken",
    layout="as IEMOCAP: Session1-5/sentences/wav/DIALOGUE/UTTERANCE.wav, made when missing",
)

_WORDS: Final = {**WORDS, "neu": "Neutral"}


class Demo:
    """Reader of the demo corpus, which makes what is not there yet."""

    info: Final = INFO

    def read(self, root: Path, *, share: float = 1.0) -> Manifest:
        """The manifest of the demo corpus under `root`, which is written if it is not there.

        Args:
            root: A folder of its own; made if need be.
            share: Part of the corpus, 0 to 1, for quick trials.

        Raises:
            BadRoot: The folder holds something else, or the demo corpus of another version or share.
            SpeechError: There is no espeak-ng.
        """
        return write_demo(Path(root), share)


CORPUS: Final = Demo()


def write_demo(root: Path, share: float = 1.0) -> Manifest:
    """Writes what is missing of the demo corpus and gives its manifest; see `Demo.read`.

    Files get their names when they are whole, the manifest last: a stop leaves nothing half, and the next call goes on.
    """
    from ser_data.synthetic.screenplay import screenplay

    _claim(root, share)
    turns = screenplay(share)
    places = {turn.id: root / f"Session{turn.session}/sentences/wav/{turn.dialogue}/{turn.id}.wav" for turn in turns}
    missing = [turn for turn in turns if not places[turn.id].is_file()]
    if missing or not (root / MANIFEST).is_file():
        with counting("Speaking the demo corpus", "turns") as tell:
            for done, (turn, samples) in enumerate(zip(missing, _recorded(missing), strict=True), 1):
                write_wav(places[turn.id], samples, RATE)
                tell(done, len(missing))
        _write_dialogues(root, turns, places)
        table = _table(root, turns, places)
        write_whole(root / MANIFEST, Manifest(table, INFO).to_bytes())
    return Manifest.read(root / MANIFEST)


def _claim(root: Path, share: float) -> None:
    """Makes sure that the folder is ours before anything is written to it."""
    marker = {"corpus": INFO.title, "version": VERSION, "share": share}
    remedy = "Give an empty or a new folder as ROOT."
    if root.exists() and not root.is_dir():
        raise BadRoot("demo", str(root), "folder", (), remedy, "is a file, not a folder")
    if (root / MARKER).is_file():
        try:
            there = json.loads((root / MARKER).read_text(encoding="utf-8"))
        except ValueError:
            there = None
        if there != marker:
            problem = f"holds another demo corpus ({there}), not version {VERSION} with share {share:g}"
            raise BadRoot("demo", str(root), "", (), remedy, problem)
        return
    if root.is_dir() and (others := sorted(path.name for path in root.iterdir())):
        raise BadRoot("demo", str(root), "", (), remedy, f"is not empty; it holds {listing(others, 8)}")
    root.mkdir(parents=True, exist_ok=True)
    write_whole(root / MARKER, (json.dumps(marker, indent=2) + "\n").encode())


def _recorded(turns: "list[Turn]") -> Iterator[NDArray[np.float32]]:
    """The turns' speech at 16 kHz with the noise of their session's room, float32 (samples,) in -1..1."""
    from ser_data.media.resampling import resample
    from ser_data.synthetic.espeak import synthesise

    for turn, (speech, rate) in zip(turns, synthesise(turn.line for turn in turns), strict=True):
        samples = resample(speech, rate, RATE)
        seed = int.from_bytes(turn.id.encode(), "big")
        level = 10 ** ((-37 + int(turn.session)) / 20)  # -36 to -32 dBFS
        noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(len(samples), np.float32)
        yield np.clip(samples + np.float32(level) * noise, -1.0, 1.0 - 2.0**-15)


def _table(root: Path, turns: "Iterable[Turn]", places: dict[str, Path]) -> Any:
    import pandas as pd

    from ser_data.media.audio import probe_audio

    rows = []
    for turn in turns:
        valence, arousal, dominance = np.mean(turn.affect, axis=0).tolist()
        rows.append(
            {
                "id": turn.id,
                "corpus": INFO.name,
                "path": places[turn.id].relative_to(root).as_posix(),
                "speaker": turn.speaker,
                "session": turn.session,
                "dialogue": turn.dialogue,
                "turn": turn.position,
                "scenario": turn.scenario,
                "scripted": turn.scripted,
                "gender": "female" if turn.speaker.endswith("F") else "male",
                "label": turn.label,
                "votes": json.dumps(dict(sorted(Counter(turn.votes).items()))),
                "valence": valence,
                "arousal": arousal,
                "dominance": dominance,
                "text": turn.line.text,
                "duration": probe_audio(places[turn.id]).duration,
                "overlap": 0.0,
            }
        )
    return pd.DataFrame(rows)


def _write_dialogues(root: Path, turns: "Iterable[Turn]", places: dict[str, Path]) -> None:
    """Evaluation and transcription files in IEMOCAP's grammar, sorted by id as there; times from the wavs' lengths."""
    from ser_data.media.audio import probe_audio

    dialogues: dict[str, list[tuple[Turn, float, float]]] = {}
    for turn in turns:
        scene = dialogues.setdefault(turn.dialogue, [])
        start = round(scene[-1][2] + 0.75, 4) if scene else 1.0
        scene.append((turn, start, start + probe_audio(places[turn.id]).duration))
    for dialogue, scene in dialogues.items():
        folder = root / f"Session{scene[0][0].session}" / "dialog"
        scene.sort(key=lambda entry: entry[0].id)
        blocks = "\n".join(_evaluation(*entry) for entry in scene)
        words = "".join(f"{transcript_line(turn.id, start, end, turn.line.text)}\n" for turn, start, end in scene)
        write_whole(folder / "EmoEvaluation" / f"{dialogue}.txt", f"{HEADER}\n\n{blocks}".encode())
        write_whole(folder / "transcriptions" / f"{dialogue}.txt", words.encode())


def _evaluation(turn: "Turn", start: float, end: float) -> str:
    lines = [summary_line(turn.id, turn.label, start, end, np.mean(turn.affect, axis=0).tolist())]
    lines += [vote_line(f"E{rater}", _WORDS[vote]) for rater, vote in enumerate(turn.votes, 1)]
    lines += [rating_line(f"E{rater}", vad) for rater, vad in enumerate(turn.affect, 1)]
    return "\n".join(lines) + "\n"
