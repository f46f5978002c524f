"""What goes into an entry and what comes out: items, rows, failures, shards, and rows of different lengths in one block."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ser_cache.errors import WrongRows


@dataclass(frozen=True, slots=True)
class Ragged:
    """Several utterances one behind the other, without padding.

    Attributes:
        values: ``(total frames, features)``.
        offsets: ``(rows + 1,)`` int64; row i is ``values[offsets[i]:offsets[i + 1]]``.

    Examples:
        >>> import numpy as np
        >>> from ser_cache import Ragged
        >>> rows = Ragged(values=np.zeros((5, 2)), offsets=np.array([0, 3, 5]))
        >>> len(rows), rows.lengths.tolist(), rows[1].shape
        (2, [3, 2], (2, 2))
    """

    values: NDArray[np.floating]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.floating]:
        """View of row ``index``, ``(frames, features)``."""
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Frames of each row, ``(rows,)``."""
        return np.diff(self.offsets)


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(rows + 1,)`` int64 offsets of rows with these lengths (frames, not negative)."""
    if len(lengths) and int(lengths.min()) < 0:
        raise WrongRows("lengths", "a row has a negative number of frames")
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


Outcome = Literal["committed", "already"]


@dataclass(frozen=True, slots=True)
class Item:
    """One utterance to compute.

    Attributes:
        id: name of the utterance, any text.
        input_hash: hash of the input it is computed from (audio bytes and span, or normalised text).
        cost: estimated seconds of work, not negative.
        frames: estimated frames of its row, None where unknown.
    """

    id: str
    input_hash: str
    cost: float = 0.0
    frames: int | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of work and of loss: the items one commit holds.

    Attributes:
        generation: number of the plan, from 1.
        number: number of the shard in the plan, from 0.
        items: what is to be computed, sorted by id.
    """

    generation: int
    number: int
    items: tuple[Item, ...]

    @property
    def name(self) -> str:
        """``0001/00000012``: generation and number."""
        return f"{self.generation:04d}/{self.number:08d}"


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The frames of one utterance.

    Attributes:
        id: name of the utterance.
        values: ``(frames, features)`` in the dtype of the spec; zero frames are allowed.
        special: ``(frames,)`` bool, true for CLS, SEP and the like; None where no frame is special.
    """

    id: str
    values: NDArray[np.floating]
    special: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an utterance has no row.

    Attributes:
        reason: one word, as ``missing``, ``empty``, ``unreadable``, ``nan``, ``too_short``.
        detail: a sentence for people.
    """

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a call of `Writer.plan` found.

    Attributes:
        asked: items given.
        kept: of these, committed already with the same input hash.
        failed: of these, recorded as failed already with the same input hash.
        withdrawn: of these, withdrawn with ``ser cache rm --ids`` and therefore left alone.
        pending: of these, still to be computed.
        changed: ids of the pending and kept whose input hash differs from the one planned last.
        generations: plans that hold the pending items.
        bytes: estimated size of the pending rows, in bytes (0 where no frames are estimated).
        seconds: estimated work of the pending items, in seconds.
        shard_seconds: what the latest plan of the pending items says that a shard may cost; None where it says nothing.
    """

    asked: int
    kept: int
    failed: int
    withdrawn: int
    pending: int
    changed: tuple[str, ...]
    generations: tuple[int, ...]
    bytes: int
    seconds: float
    shard_seconds: float | None = None
