"""Normalisation per speaker or corpus (``--norm``): who belongs together, and whose speech gives mean and deviation.

One rule for heads and classifiers. All but ``train`` are transductive; ``speaker-neutral`` needs to know which of a speaker's
utterances are neutral, tested ones included: it reads test labels, and every row that used it says so.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ser_fusion.errors import FusionError

if TYPE_CHECKING:
    from ser_fusion.study.open import Study


class NoReference(FusionError, ValueError):
    """Speakers cannot be normalised by their own speech."""

    norm: str
    problem: str
    got = "--norm {norm} is not possible: {problem}."
    next = "Use --norm train, or correct the manifest."


def groups_of(study: "Study", norm: str) -> tuple[NDArray[np.int64] | None, NDArray[np.bool_] | None]:
    """Who is normalised together, and by whose speech.

    Args:
        study: The utterances.
        norm: ``train``, ``corpus``, ``speaker`` or ``speaker-neutral``.

    Returns:
        Number of each utterance's group, (utterances,), or None for ``train``; which utterances give their group's mean and
        deviation, (utterances,), or None for all.

    Raises:
        NoReference: Utterances without a speaker; for ``speaker-neutral`` no neutral class, or speakers without neutral speech.
    """
    if norm == "train":
        return None, None
    names, groups = np.unique(_names(study, norm), return_inverse=True)
    groups = groups.astype(np.int64)
    if norm != "speaker-neutral":
        return groups, None
    neutral = next((name for name in study.classes if name.lower().startswith("neu")), None)
    if neutral is None:
        raise NoReference(norm, f"no class is called neutral; classes are {', '.join(study.classes)}")
    reference = study.targets == study.classes.index(neutral)
    lacking = [str(name) for number, name in enumerate(names) if not reference[groups == number].any()]
    if lacking:
        raise NoReference(norm, f"{len(lacking)} speakers have no neutral utterance: {', '.join(lacking[:3])}")
    return groups, reference


def _names(study: "Study", norm: str) -> NDArray[np.str_]:
    if norm == "corpus":
        return study.table["corpus"].to_numpy().astype(str)
    speakers = study.table["speaker"]
    if speakers.isna().any():
        raise NoReference(norm, f"{int(speakers.isna().sum()):,} utterances have no speaker")
    return speakers.to_numpy().astype(str)
