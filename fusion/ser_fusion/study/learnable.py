"""What a study must hold before anything is learned from it; asked before the first training."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ser_fusion.errors import ClassMissing, OneClass

if TYPE_CHECKING:
    from ser_fusion.study.open import Study


def check_two_classes(study: "Study") -> None:
    """Refuses a corpus in which there is nothing to tell apart.

    Raises:
        OneClass: All utterances are of one class.
    """
    if len(study.classes) < 2:
        raise OneClass(study.classes, len(study.table), study.labels)


def check_classes(study: "Study", fold: str, rows: NDArray[np.int64], least: int | None = None) -> None:
    """Refuses a training part without an example of some class.

    Args:
        study: Whose classes.
        fold: Name of the fold.
        rows: Its training part.
        least: How many classes it must hold; None for all.

    Raises:
        ClassMissing: It holds fewer.
    """
    found = np.bincount(study.targets[rows], minlength=len(study.classes))
    counts = {name: int(n) for name, n in zip(study.classes, found, strict=True)}
    lacking = tuple(name for name, n in counts.items() if not n)
    if len(counts) - len(lacking) < (len(counts) if least is None else least):
        raise ClassMissing(fold, lacking, counts, study.folds.protocol)
