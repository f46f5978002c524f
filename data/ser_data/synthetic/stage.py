"""Videos of generated dialogues: two actors side by side, the wearer of the markers on the left, as in IEMOCAP's DivX files.

While a turn lasts, its speaker's half shows the turn's class; the other half is what the other one does at that time.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_data.corpora.iemocap_files import CODES
from ser_data.synthetic.clips import draw, write_video
from ser_data.synthetic.lines import Line

RATE = 10  # pictures per second; the real ones have 29.97
HALF = (64, 48)  # height and width of one actor's half, in pixels; the real ones have 480 x 360
TAIL = 0.3  # seconds after the last turn


def write_dialogue_video(root: Path, name: str, lines: Sequence[Line], plant: str, phase: float) -> None:
    """Writes `SessionN/dialog/avi/DivX/DIALOGUE.avi`.

    Args:
        root: Of the corpus.
        name: The dialogue; its sixth letter is the wearer.
        lines: Its turns.
        plant: With `emotion`, pictures show the label; else they show that somebody speaks.
        phase: Of the movement, in turns.
    """
    folder = root / f"Session{lines[0].session}" / "dialog" / "avi" / "DivX"
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / f"{name}.avi", _pictures(name[5], lines, plant, phase), RATE)


def _pictures(wearer: str, lines: Sequence[Line], plant: str, phase: float) -> Iterator[NDArray[np.uint8]]:
    end = max(line.end for line in lines) + TAIL
    own = {who: [line for line in lines if line.speaker == who] for who in "FM"}
    sides = (wearer, "M" if wearer == "F" else "F")
    for number in range(int(np.ceil(end * RATE))):
        time = (number + 0.5) / RATE
        halves = [draw(HALF, _class_at(own[who], time, plant), len(CODES), phase + time / 3) for who in sides]
        yield np.concatenate(halves, axis=1)


def _class_at(lines: Sequence[Line], time: float, plant: str) -> int:
    """The class to show at a time: -1 where the actor is silent."""
    for line in lines:
        if line.start <= time < line.end:
            return CODES.index(line.label) if plant == "emotion" else 0
    return -1
