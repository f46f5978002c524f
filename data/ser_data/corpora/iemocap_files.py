"""The line grammars of IEMOCAP's evaluation and transcription files: one strict parser each, and writers for generators.

Every line is either understood in full or returned as a fault; nothing is skipped in silence.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# session, wearer, scenario with take, scenario, take, speaker, number
TURN = re.compile(r"Ses(0[1-5])([FM])_((impro0[1-8]|script0[1-3]_[1-3])([ab]?))_([FM])(\d{3})")
CODES = ("ang", "hap", "exc", "sad", "neu", "fru", "sur", "fea", "dis", "oth", "xxx")

_N = r"(\d+(?:\.\d+)?)"
_SUMMARY = re.compile(rf"\[{_N} - {_N}\]\t(\S+)\t(\w{{3}})\t\[{_N}, {_N}, {_N}\]\s*")
_CATEGORICAL = re.compile(r"C-([EFM])(\d+):\t(.*?)\t\((.*)\)\s*")
_ATTRIBUTES = re.compile(rf"A-([EFM])(\d+):\tval\s+{_N}?\s*;\s*act\s+{_N}?\s*;\s*dom\s+{_N}?\s*;\t\((.*)\)\s*")
_TRANSCRIPT = re.compile(rf"(Ses0[1-5][FM]_\w+_[FM]\d{{3}}) \[{_N}-{_N}\]: (.*)")
_EXTRA = re.compile(r"Ses0[1-5][FM]_\w+_[FM]XX\w* \[[\d.]+-[\d.]+\]: .*")
_NAMES = {
    "anger": "ang", "happiness": "hap", "excited": "exc", "excitement": "exc", "sadness": "sad", "neutral": "neu",
    "neutral state": "neu", "frustration": "fru", "surprise": "sur", "fear": "fea", "disgust": "dis", "other": "oth",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that does not follow the grammar, or one that belongs to no turn.

    Attributes:
        kind: `bad line`, `odd line` (of an annotator), `extra transcript` (an id with XX), `noise line`, `unknown vote`, `not UTF-8`.
        line: Line number from 1.
        text: The line.
        dropped: Whether an utterance is lost by it.
    """

    kind: str
    line: int
    text: str
    dropped: bool


@dataclass(slots=True)
class Turn:
    """One block of an evaluation file. Times in seconds from the start of the dialogue."""

    id: str
    start: float
    end: float
    label: str
    vad: tuple[float, float, float]
    line: int
    votes: dict[str, int] = field(default_factory=dict)
    self_votes: dict[str, int] = field(default_factory=dict)
    ratings: list[tuple[float, ...]] = field(default_factory=list)


def _lines(path: Path) -> Iterator[tuple[int, str | None]]:
    """Numbered lines without their ends (LF or CRLF); `None` for a line that is not UTF-8."""
    for number, raw in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            yield number, raw.rstrip(b"\r").decode("utf-8")
        except UnicodeDecodeError:
            yield number, None


def _count(votes: dict[str, int], labels: str) -> str | None:
    """Adds one annotator's labels; returns the first name that is not known."""
    for name in (part.strip().lower() for part in labels.split(";")):
        if name and name not in _NAMES:
            return name
        if name:
            votes[_NAMES[name]] = votes.get(_NAMES[name], 0) + 1
    return None


def read_evaluation(path: Path) -> tuple[list[Turn], list[Fault]]:
    """Turns and faults of `dialog/EmoEvaluation/<dialogue>.txt`, in the file's order."""
    turns: list[Turn] = []
    faults: list[Fault] = []
    for number, line in _lines(path):
        if line is None:
            faults.append(Fault("not UTF-8", number, "", True))
        elif not line.strip() or line.startswith(("%", "[START_TIME")):
            continue
        elif match := _SUMMARY.fullmatch(line):
            start, end, *vad = (float(match[group]) for group in (1, 2, 5, 6, 7))
            turns.append(Turn(match[3], start, end, match[4], (vad[0], vad[1], vad[2]), number))
        elif match := _CATEGORICAL.fullmatch(line):
            if not turns:
                faults.append(Fault("odd line", number, line, False))
            elif unknown := _count(turns[-1].votes if match[1] == "E" else turns[-1].self_votes, match[3]):
                faults.append(Fault("unknown vote", number, unknown, False))
        elif match := _ATTRIBUTES.fullmatch(line):
            if turns and match[1] == "E" and all(match[group] for group in (3, 4, 5)):
                turns[-1].ratings.append(tuple(float(match[group]) for group in (3, 4, 5)))
        else:
            # an annotator's line that reads otherwise costs a vote, a summary line costs the turn
            faults.append(
                Fault("odd line" if line.startswith(("C-", "A-")) else "bad line", number, line, line[0] == "[")
            )
    return turns, faults


def read_transcripts(path: Path) -> tuple[list[tuple[str, float, float, str, int]], list[Fault]]:
    """Rows `(id, start, end, text, line)` and faults of `dialog/transcriptions/<dialogue>.txt`."""
    rows: list[tuple[str, float, float, str, int]] = []
    faults: list[Fault] = []
    for number, line in _lines(path):
        if line is None:
            faults.append(Fault("not UTF-8", number, "", True))
        elif match := _TRANSCRIPT.fullmatch(line):
            rows.append((match[1], float(match[2]), float(match[3]), match[4], number))
        elif _EXTRA.fullmatch(line):
            faults.append(Fault("extra transcript", number, line, False))
        elif line.startswith("Ses"):
            faults.append(Fault("bad line", number, line, True))
        elif line.strip():
            faults.append(Fault("noise line", number, line, False))
    return rows, faults


HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
WORDS = {
    "ang": "Anger", "hap": "Happiness", "exc": "Excited", "sad": "Sadness", "neu": "Neutral state", "fru": "Frustration",
    "sur": "Surprise", "fea": "Fear", "dis": "Disgust", "oth": "Other",
}  # fmt: skip
"""Annotators write words where the summary lines have codes."""


def summary_line(turn: str, label: str, start: float, end: float, vad: Sequence[float]) -> str:
    """The first line of a turn's block; start and end in seconds, the mean ratings of valence, arousal and dominance."""
    valence, arousal, dominance = vad
    return f"[{start:.4f} - {end:.4f}]\t{turn}\t{label}\t[{valence:.4f}, {arousal:.4f}, {dominance:.4f}]"


def vote_line(rater: str, word: str, remark: str = "") -> str:
    """One rater's (`E1`, or `F1` and `M1` for the actors) category."""
    return f"C-{rater}:\t{word};\t({remark})"


def rating_line(rater: str, vad: Sequence[int]) -> str:
    """One rater's valence, arousal and dominance, 1 to 5."""
    return f"A-{rater}:\tval {vad[0]}; act {vad[1]}; dom  {vad[2]};\t()"


def transcript_line(turn: str, start: float, end: float, text: str) -> str:
    """The line of a transcription file; start and end in seconds."""
    return f"{turn} [{start:08.4f}-{end:08.4f}]: {text}"
