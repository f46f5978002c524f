"""The blocks of an evaluation file: votes that agree with the label, ratings that agree with the mean."""

from dataclasses import dataclass

import numpy as np

_NAMES = {
    "ang": "Anger", "hap": "Happiness", "exc": "Excited", "sad": "Sadness", "neu": "Neutral state", "fru": "Frustration",
    "sur": "Surprise", "fea": "Fear", "dis": "Disgust", "oth": "Other",
}  # fmt: skip
# Class -> typical valence, activation, dominance on the scale 1 to 5
_VAD = {
    "ang": (2, 4, 4), "hap": (4, 3, 3), "exc": (4, 4, 3), "sad": (2, 2, 3), "neu": (3, 2, 3), "fru": (2, 3, 3),
    "sur": (3, 4, 3), "fea": (2, 3, 2), "dis": (2, 3, 3), "oth": (3, 3, 3), "xxx": (3, 3, 3),
}  # fmt: skip
_NEAR = {
    "ang": "fru", "fru": "ang", "hap": "exc", "exc": "hap", "sad": "neu", "neu": "fru", "sur": "exc", "fea": "sur",
    "dis": "ang", "oth": "neu",
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
        own = _NAMES.get(line.label, "Neutral state")
        attributes = [
            f"A-E{number}:\tval {v}; act {a}; dom  {d};\t()" for number, (v, a, d) in zip((3, 4), ratings, strict=True)
        ]
        return [
            f"[{line.start:.4f} - {line.end:.4f}]\t{line.id}\t{line.label}\t[{mean[0]:.4f}, {mean[1]:.4f}, {mean[2]:.4f}]",
            *(f"C-E{number}:\t{vote};\t()" for number, vote in zip((2, 3, 4), votes, strict=True)),
            f"C-{line.speaker}1:\t{own};\t({'curious' if line.label == 'oth' else ''})",
            *attributes,
            f"A-{line.speaker}1:\tval 3; act 3; dom  3;\t()",
        ]

    def _rating(self, label: str) -> tuple[int, ...]:
        return tuple(int(np.clip(value + self.rng.integers(-1, 2), 1, 5)) for value in _VAD[label])

    def _votes(self, label: str) -> list[str]:
        if label == "xxx":
            return [_NAMES[name] for name in self.rng.permutation(["ang", "fru", "neu", "sad", "hap"])[:3]]
        votes = [label, label, label if self.rng.random() < 0.5 else _NEAR[label]]
        return [_NAMES[name] for name in votes]
