"""Rows of different lengths in one block of memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_cache.errors import WrongRows


@dataclass(frozen=True, slots=True)
class Ragged:
    """Several utterances one behind the other, without padding.

    Attributes:
        values: ``(total frames, features)``.
        offsets: ``(rows + 1,)`` int64; row i is ``values[offsets[i]:offsets[i + 1]]``.
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
