"""The guard of every training: what its rows may not share with the rows that judge it.

The guard of the folds (``Folds.check``) sees the utterances that have a label. What a training reads is more than that: turns
without a majority join (``--targets votes``), texts come from elsewhere (``--extra-text``), previous turns are read
(``--context``), a search cuts folds of its own (``--tune``), a refit trains on the development part. So the same promise is
asserted again in ``train``, on the very rows that it is given, whatever asked for it. It costs a few passes over arrays.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ser_data.protocols.base import MARK, SOURCE
from ser_data.protocols.folds import SPARSE, TEXT, key_values
from ser_fusion.errors import FusionError

if TYPE_CHECKING:
    import pandas as pd

Rows = NDArray[np.int64]
KEYS = ("session", "speaker", "scenario", "dialogue", "corpus", "fold", "part", "audio_hash", SOURCE)
ELSEWHERE = ("fold", TEXT)  # what a line of --extra-text may not share with a development or test part
NOBODY = np.zeros(0, dtype=np.int64)


class Leak(FusionError, RuntimeError):
    """A training was given rows that its folds promise to keep apart."""

    key: str
    count: int
    learned: str
    part: str
    got = "{count:,} rows {learned} share a value of {key!r} with the {part} part, which the folds keep apart."
    next = "Nothing was trained. This is a fault of ser-fuse: please report it with the command."


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """What keeps the rows of a study apart; plain data, picklable.

    Attributes:
        values: By key the number of each row's value, (rows,) int32, -1 where it has none. Rows are those of the study, then
            turns that are only read as previous ones, or lines of extra text. ``id`` is among the keys.
        held_out: Keys of which no value may be both in what is learned from (training and development) and in the test part.
        scored: How many rows have a class; those behind may train, and are never scored.
        outer: Keys that the outer folds hold out, for a training of a search; else empty.
        tested: Rows of the outer test part, for a training of a search; else empty.
    """

    values: Mapping[str, NDArray[np.int32]]
    held_out: tuple[str, ...]
    scored: int
    outer: tuple[str, ...] = ()
    tested: Rows = field(default_factory=lambda: NOBODY)

    @classmethod
    def of(
        cls, table: "pd.DataFrame", held_out: Sequence[str], scored: int, behind: "pd.DataFrame | None" = None
    ) -> "Separation":
        """What keeps the rows of a table apart.

        Args:
            table: Rows of the study, with the manifest's columns.
            held_out: Keys that its folds hold out.
            scored: How many of the rows have a class.
            behind: Rows that streams hold behind those: previous turns, or lines of extra text (then with ``fold`` and
                ``text``).
        """
        import pandas as pd

        keys = [key for key in dict.fromkeys(("id", *held_out, *KEYS)) if key in table]
        if behind is not None:
            keys += [key for key in ELSEWHERE if key not in keys]
            table = pd.concat([frame.reindex(columns=[*keys, MARK]) for frame in (table, behind)])
        return cls(
            values={key: _numbers(key_values(table, key)) for key in keys}, held_out=tuple(held_out), scored=scored
        )

    def inside(self, held_out: Sequence[str], tested: Rows) -> "Separation":
        """The same for the trainings of a search, which hold out other keys and may not meet the outer test part at all."""
        return replace(self, held_out=tuple(held_out), outer=self.held_out, tested=tested)

    def joining(self, parts: Mapping[str, Rows], rows: Rows) -> Rows:
        """Those of some rows without a class that may train in a fold.

        By every key that separates the fold's own training rows from the test part, a row shares no value with the test
        part; likewise with the development part. A row whose value is not known stays out.

        Args:
            parts: ``train``, ``dev``, ``test`` of the study's own rows.
            rows: Rows behind those.
        """
        for part in ("dev", "test"):
            for key in self._separating(parts["train"], parts[part]):
                comparable = np.ones(len(rows), dtype=bool) if key in SPARSE else self.values[key][rows] >= 0
                rows = rows[comparable & ~self._shared(key, rows, parts[part])]
        return rows

    def without(self, rows: Rows, held: Rows, keys: Iterable[str]) -> Rows:
        """Those of some rows that share no value of these keys with the rows held out."""
        for key in keys:
            rows = rows[~self._shared(key, rows, held)]
        return rows

    def check(self, parts: Mapping[str, Rows], previous: Iterable[Rows] = ()) -> None:
        """Refuses a training whose rows break what its folds promise.

        Args:
            parts: ``train``, ``dev``, ``test``: rows; ``extra``, if there: (2, lines), rows of extra text and their classes.
            previous: Per stream that reads previous turns: (rows, K), rows of those turns, -1 for none.

        Raises:
            Leak: Naming the key and the parts.
        """
        train, dev, test = (parts[part] for part in ("train", "dev", "test"))
        lines = parts["extra"][0] if "extra" in parts else NOBODY
        learned = np.concatenate([train, dev])
        near = [turns[learned].ravel() for turns in previous]
        learned = np.concatenate([learned, *(turns[turns >= 0] for turns in near)])
        self._refuse(("id",), train, dev, "of the training part", "development")
        self._refuse(("id", *self.held_out), learned, test, "that are learned from", "test")
        self._refuse(("id", *self.outer), np.concatenate([learned, test]), self.tested, "of the search", "outer test")
        self._refuse(ELSEWHERE, lines, np.concatenate([dev, test]), "of extra text", "development or test")
        joined, own = train[train >= self.scored], train[train < self.scored]
        # an inner fold is a part of what joined an outer one: what its few own rows happen not to share says nothing
        asked = len(joined) and not len(self.tested)
        for name, part in (("development", dev), ("test", test)) if asked else ():
            self._refuse(self._separating(own, part), joined, part, "without a class", name)

    def _separating(self, train: Rows, part: Rows) -> list[str]:
        """Keys by which a fold's own training rows share nothing with a part, as far as all their values are known."""
        keys = [key for key in self.values if key != TEXT or TEXT in (*self.held_out, *self.outer)]
        both = np.concatenate([train, part])
        comparable = [key for key in keys if key in SPARSE or (self.values[key][both] >= 0).all()]
        return [key for key in comparable if not self._shared(key, train, part).any()]

    def _shared(self, key: str, rows: Rows, part: Rows) -> NDArray[np.bool_]:
        """Which of the rows have a value that is in the part, (rows,)."""
        values = self.values[key]
        there = np.zeros(
            int(values.max(initial=-1)) + 2, dtype=bool
        )  # the last one is -1: not known, shared with nobody
        there[values[part]] = True
        there[-1] = False
        return there[values[rows]]

    def _refuse(self, keys: Iterable[str], rows: Rows, part: Rows, learned: str, name: str) -> None:
        for key in keys if len(rows) and len(part) else ():
            count = int(self._shared(key, rows, part).sum()) if key in self.values else 0
            if count:
                raise Leak(key, count, learned, name)


def _numbers(values: NDArray[np.object_]) -> NDArray[np.int32]:
    """The same number for the same value; -1 for None."""
    import pandas as pd

    return pd.factorize(values)[0].astype(np.int32)
