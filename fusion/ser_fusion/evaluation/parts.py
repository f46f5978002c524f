"""A fold by positions in a table, its class frequencies and units, and predictions of it in the run directory's columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def _nothing() -> NDArray[np.int64]:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Part:
    """One fold by positions in the table.

    Attributes:
        name: Of the fold.
        train: ``(n,)`` int64.
        test: The same.
        dev: The same; empty where there is no development part.
        refit: Whether what is tested was fitted on the development part too.
    """

    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    dev: NDArray[np.int64] = field(default_factory=_nothing)
    refit: bool = False

    @property
    def fit(self) -> NDArray[np.int64]:
        """What the tested models are fitted on."""
        return np.sort(np.concatenate([self.train, self.dev])) if self.refit else self.train


def parts_of(index: pd.Index, folds: Iterable[Any], refit: bool = False) -> list[Part]:
    """Folds (with ``name``, ``train``, ``dev``, ``test`` as ids) as positions in ``index``; unknown ids are left out."""

    def positions(ids: Sequence[str]) -> NDArray[np.int64]:
        places = index.get_indexer(pd.Index(list(ids)))
        return places[places >= 0].astype(np.int64)

    return [
        Part(str(fold.name), positions(fold.train), positions(fold.test), positions(fold.dev), refit) for fold in folds
    ]


def posterior_frame(
    table: pd.DataFrame,
    classes: Sequence[str],
    rows: np.ndarray,
    fold: str,
    seed: int,
    posteriors: np.ndarray,
    guess: np.ndarray | None = None,
) -> pd.DataFrame:
    """Predictions of one part: ``id, fold, seed, label, predicted, p_<class> ...``; ``guess`` replaces the argmax."""
    names = np.asarray(classes, dtype=object)
    predicted = posteriors.argmax(axis=1) if guess is None else guess
    frame = {
        "id": table.index.to_numpy()[rows],
        "fold": fold,
        "seed": seed,
        "label": names[table["target"].to_numpy()[rows]],
        "predicted": names[predicted],
    }
    frame.update({f"p_{name}": posteriors[:, k].astype(np.float32) for k, name in enumerate(classes)})
    return pd.DataFrame(frame, index=range(len(rows)))


def reference_row(slug: str, name: str, note: str, parameters: int = 0) -> dict[str, Any]:
    """The row as ``run.json`` holds it."""
    return {
        "name": name,
        "slug": slug,
        "kind": "reference",
        "fusion": None,
        "pooling": None,
        "preset": None,
        "parameters": parameters,
        "transductive": False,
        "departures": [],
        "note": note,
    }


def class_prior(targets: np.ndarray, classes: int) -> np.ndarray:
    """Class frequencies ``(classes,)`` of the training targets; sums to 1."""
    counts = np.bincount(targets, minlength=classes).astype(np.float64)
    return counts / counts.sum()


# Speakers are the units of tests and intervals, where the corpus names them (`metrics.UnitCounts`).
UNITS = ("speaker", "session", "dialogue")


def unit_kind(utterances: pd.DataFrame) -> str:
    """The finest honest unit that the corpus declares for every utterance."""
    for kind in UNITS:
        if kind in utterances and utterances[kind].notna().all() and utterances[kind].nunique() > 1:
            return kind
    return "fold"


def speakers_of(utterances: pd.DataFrame) -> "pd.Series[str] | None":
    """The unit of each utterance, by id; None where the corpus declares none."""
    kind = unit_kind(utterances)
    return None if kind == "fold" else utterances[kind].astype(str)
