"""Writes an IEMOCAP-shaped corpus: exact folders and line grammar, every known trap, no content of the real one.

The full size has 10,039 turns and 12.4 h (about 1.4 GB) and validates with exactly the published counts.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ser_base.errors import UnknownName
from ser_data.corpora.iemocap import MARK
from ser_data.corpora.iemocap_files import CODES, HEADER, WORDS, rating_line, summary_line, transcript_line, vote_line
from ser_data.errors import BadRoot
from ser_data.media.sound_file import write_wav
from ser_data.media.video import require_video
from ser_data.synthetic.allocation import NEAR, PlannedTurn, allocate, durations, thin_out, timeline
from ser_data.synthetic.clips import draw, write_video
from ser_data.synthetic.planted import PLANTS, RATE, TAGS, Voices, Writer

EXTRA_LINES = 46  # transcript lines with XX ids, in sessions 3 and 5 only
TAGGED, EMPTY = 207, 47  # seven-class turns with a tag, and those with nothing else
PICTURES = 10  # a second; the real ones have 29.97
HALF = (64, 48)  # height and width of one actor's half, in pixels; the real ones have 480 x 360
TAIL = 0.3  # seconds of video after the last turn
SEVEN = frozenset({"neu", "fru", "ang", "sad", "exc", "hap", "sur"})


# Class -> typical valence, activation, dominance on the scale 1 to 5
_VAD = {
    "ang": (2, 4, 4), "hap": (4, 3, 3), "exc": (4, 4, 3), "sad": (2, 2, 3), "neu": (3, 2, 3), "fru": (2, 3, 3),
    "sur": (3, 4, 3), "fea": (2, 3, 2), "dis": (2, 3, 3), "oth": (3, 3, 3), "xxx": (3, 3, 3),
}  # fmt: skip


@dataclass(slots=True)
class Line:
    """A turn with everything that is written about it. Times in seconds from the start of the dialogue."""

    id: str
    session: int
    speaker: str
    scenario: str
    label: str
    start: float
    end: float
    text: str
    outlier: tuple[int, float] | None = None  # which of V, A, D has a value outside of 1 to 5


class Blocks:
    """Writes blocks; one per corpus."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def outliers(self, lines: list[Line], full: bool) -> None:
        """Marks the turns whose mean rating lies outside of the scale: 3 dominances of 0.5, 4 valences of 5.5."""
        values = [(2, 0.5)] * 3 + [(0, 5.5)] * 4 if full else [(2, 0.5), (0, 5.5)]
        for i, value in zip(self.rng.permutation(len(lines)), values, strict=False):
            lines[i].outlier = value

    def block(self, line: Line) -> list[str]:
        """The lines of one turn, without the blank line after it."""
        ratings = [self._rating(line.label) for _ in range(2)]
        mean = [sum(values) / 2 for values in zip(*ratings, strict=True)]
        if line.outlier is not None:
            mean[line.outlier[0]] = line.outlier[1]
        votes = self._votes(line.label)
        own = WORDS.get(line.label, "Neutral state")
        remark = "curious" if line.label == "oth" else ""
        return [
            summary_line(line.id, line.label, line.start, line.end, mean),
            *(vote_line(f"E{number}", vote) for number, vote in zip((2, 3, 4), votes, strict=True)),
            vote_line(f"{line.speaker}1", own, remark),
            *(rating_line(f"E{number}", vad) for number, vad in zip((3, 4), ratings, strict=True)),
            rating_line(f"{line.speaker}1", (3, 3, 3)),
        ]

    def _rating(self, label: str) -> tuple[int, ...]:
        return tuple(int(np.clip(value + self.rng.integers(-1, 2), 1, 5)) for value in _VAD[label])

    def _votes(self, label: str) -> list[str]:
        if label == "xxx":
            return [WORDS[name] for name in self.rng.permutation(["ang", "fru", "neu", "sad", "hap"])[:3]]
        votes = [label, label, label if self.rng.random() < 0.5 else NEAR[label]]
        return [WORDS[name] for name in votes]


def generate_iemocap_shaped(
    root: str | Path,
    *,
    full: bool = False,
    seed: int = 0,
    turns: int = 450,
    plant: str = "emotion",
    shorten: float = 1.0,
    video: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes the corpus.

    Args:
        root: New or empty folder.
        full: All 10,039 turns; else about `turns`.
        seed: Of everything; the same seed writes the same bytes.
        turns: Size without `full`, at least about 302 (two per dialogue).
        plant: What words and voices tell about the label: `emotion`, `scenario` (words tell the scene only) or `none`.
        shorten: Factor on all lengths, for quick tests; 1 is realistic.
        video: Also the dialogues' videos, 96 x 64 at 10 pictures a second; needs the extra `video`.
        progress: Called with done and all turns after each dialogue.

    Returns:
        Number of turns.

    Raises:
        BadRoot: The folder is not empty.
        UnknownName: No such plant.
        PackageMissing: Videos are asked for, and PyAV is not installed.
    """
    if video:
        require_video()
    root = Path(root)
    if plant not in PLANTS:
        raise UnknownName("plant", plant, PLANTS)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise BadRoot("iemocap", str(root), "", (), "Give a new or an empty folder.", "is not an empty folder")
    plan = allocate(seed)
    if not full:
        plan = thin_out(plan, turns, seed)
    rng = np.random.default_rng([seed, 5])
    lengths = durations(len(plan), rng) * shorten
    dialogues: dict[str, list[tuple[PlannedTurn, float]]] = {}
    for turn, seconds in zip(plan, lengths.tolist(), strict=True):
        dialogues.setdefault(turn.dialogue, []).append((turn, max(seconds, 0.05)))
    writer, voices = Writer(plant, seed), Voices(plant, seed, float(lengths.max()))
    blocks = Blocks(np.random.default_rng([seed, 6]))
    lines = {name: _lines(name, rows, writer, rng) for name, rows in sorted(dialogues.items())}
    _tags([line for some in lines.values() for line in some], len(plan) / 10_039, rng)
    blocks.outliers([line for some in lines.values() for line in some], full)
    extra = [name for name in lines if name.startswith(("Ses03", "Ses05"))]
    extras = {name: 0 for name in lines}
    for i in range(EXTRA_LINES if full else 4):
        extras[extra[i * 7 % len(extra)]] += 1
    done = 0
    for number, (name, some) in enumerate(lines.items()):
        _write_dialogue(root, name, some, extras[name], number, blocks)
        _write_wavs(root, name, some, voices, rng)
        if video:
            _write_video(root, name, some, plant, number / 7)
        done += len(some)
        if progress is not None:
            progress(done, len(plan))
    _write_traps(root, sorted(lines))
    mark = {
        "title": f"IEMOCAP-shaped synthetic corpus (plant {plant}, seed {seed})",
        "turns": len(plan),
        "plant": plant,
    }
    (root / MARK).write_text(json.dumps(mark, indent=2) + "\n", encoding="utf-8")
    return len(plan)


def _lines(name: str, rows: list[tuple[PlannedTurn, float]], writer: Writer, rng: np.random.Generator) -> list[Line]:
    """The dialogue's turns with ids, times and words, in id order (all F, then all M)."""
    numbers = {"F": 0, "M": 0}
    made = []
    for i, start, end in timeline([seconds for _, seconds in rows], [turn.speaker for turn, _ in rows], rng):
        turn = rows[i][0]
        ident = f"{name}_{turn.speaker}{numbers[turn.speaker]:03d}"
        numbers[turn.speaker] += 1
        words = writer.line(end - start, turn.scenario, turn.label)
        made.append(Line(ident, turn.session, turn.speaker, turn.scenario, turn.label, start, end, words))
    return sorted(made, key=lambda line: line.id)


def _tags(lines: list[Line], share: float, rng: np.random.Generator) -> None:
    """Puts tags, tag-only texts and double spaces into the transcripts, in the published numbers of the full corpus."""
    seven = [line for line in lines if line.label in SEVEN]
    chosen = rng.permutation(len(seven))
    tagged = max(4, round(TAGGED * share))
    for rank, i in enumerate(chosen[:tagged]):
        tag = TAGS[rank % len(TAGS)]
        seven[i].text = tag if rank < max(2, round(EMPTY * share)) else f"{tag} {seven[i].text}"
    for i in chosen[tagged : tagged + max(3, round(3_000 * share))]:
        seven[i].text = seven[i].text.replace(" ", "  ", 1)


def _write_dialogue(root: Path, name: str, lines: list[Line], extras: int, number: int, blocks: Blocks) -> None:
    dialog = root / f"Session{lines[0].session}" / "dialog"
    for kind in ("EmoEvaluation", "transcriptions"):
        (dialog / kind).mkdir(parents=True, exist_ok=True)
    end = "\r\n" if number % 10 == 3 else "\n"  # some files come from Windows
    evaluation = [HEADER, ""] + [text for line in lines for text in (*blocks.block(line), "")]
    (dialog / "EmoEvaluation" / f"{name}.txt").write_bytes((end.join(evaluation) + end).encode())
    texts = [transcript_line(line.id, line.start, line.end, line.text) for line in lines]
    for i in range(extras):
        at = lines[i % len(lines)]
        texts.append(transcript_line(f"{name}_{at.speaker}XX{i}", at.end, at.end + 0.5, "Mhm."))
    if number % 25 == 0:
        texts.insert(1, "M: sorry")
    (dialog / "transcriptions" / f"{name}.txt").write_bytes((end.join(texts) + end).encode())


def _write_wavs(root: Path, name: str, lines: list[Line], voices: Voices, rng: np.random.Generator) -> None:
    folder = root / f"Session{lines[0].session}" / "sentences" / "wav" / name
    folder.mkdir(parents=True, exist_ok=True)
    for line in lines:
        samples = round((line.end - line.start) * RATE)
        write_wav(folder / f"{line.id}.wav", voices.turn(line.session, line.speaker, line.label, samples, rng), RATE)


def _write_video(root: Path, name: str, lines: Sequence[Line], plant: str, phase: float) -> None:
    """`SessionN/dialog/avi/DivX/DIALOGUE.avi`: two actors side by side, the wearer of the markers on the left.

    While a turn lasts, its speaker's half shows the turn's class (`plant` is `emotion`), or only that somebody speaks.
    """
    folder = root / f"Session{lines[0].session}" / "dialog" / "avi" / "DivX"
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / f"{name}.avi", _pictures(name[5], lines, plant, phase), PICTURES)


def _pictures(wearer: str, lines: Sequence[Line], plant: str, phase: float) -> Iterator[npt.NDArray[np.uint8]]:
    end = max(line.end for line in lines) + TAIL
    own = {who: [line for line in lines if line.speaker == who] for who in "FM"}
    sides = (wearer, "M" if wearer == "F" else "F")
    for number in range(int(np.ceil(end * PICTURES))):
        time = (number + 0.5) / PICTURES
        halves = [draw(HALF, _class_at(own[who], time, plant), len(CODES), phase + time / 3) for who in sides]
        yield np.concatenate(halves, axis=1)


def _class_at(lines: Sequence[Line], time: float, plant: str) -> int:
    """The class to show at a time: -1 where the actor is silent."""
    for line in lines:
        if line.start <= time < line.end:
            return CODES.index(line.label) if plant == "emotion" else 0
    return -1


def _write_traps(root: Path, names: list[str]) -> None:
    """Files that a reader must pass over: hidden ones, sub-folders with like names, whole-dialogue audio."""
    for session in range(1, 6):
        own = next(name for name in names if name.startswith(f"Ses0{session}"))
        dialog = root / f"Session{session}" / "dialog"
        (dialog / "EmoEvaluation" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (dialog / "EmoEvaluation" / f"._{own}.txt").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
        (dialog / "transcriptions" / f"._{own}.txt").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
        (root / f"Session{session}" / "sentences" / "wav" / own / f"._{own}_F000.wav").write_bytes(b"\0\5\26\7")
        for folder, text in (
            ("Categorical", f"{own}_F000 :Neutral state; ()"),
            ("Attribute", f"{own}_F000 :act 3; :val 3;"),
        ):
            (dialog / "EmoEvaluation" / folder).mkdir()
            (dialog / "EmoEvaluation" / folder / f"{own}_e2_cat.txt").write_text(text + "\n", encoding="utf-8")
        (dialog / "EmoEvaluation" / "Self-evaluation").mkdir()
        (dialog / "wav").mkdir()
        write_wav(dialog / "wav" / f"{own}.wav", np.zeros(RATE // 10, dtype=np.int16), RATE)
