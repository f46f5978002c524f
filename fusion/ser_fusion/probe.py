"""Linear probes over every cached layer and stream: the cheap question that comes before any head.

Per entry and fold: mean and deviation over time, standardised by the training part, logistic regression; the penalty and
the layer are chosen on the development part. The best layer by test score is shown too, marked as what it is: chosen on
test data, too good by the choice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ser_fusion.study import Study, pool_entry

if TYPE_CHECKING:
    import pandas as pd

    from ser_cache import Entry

PENALTIES = (
    0.001,
    0.003,
    0.01,
    0.03,
    0.1,
)  # C, inverse strength; on RAVDESS x MELD the best lies inside for every stream


@dataclass(frozen=True, slots=True)
class Probed:
    """One entry on one fold.

    Attributes:
        stream: Name of the stream.
        encoder: Public name of the encoder.
        layer: Hidden state.
        fold: Name of the fold.
        penalty: C chosen on the development part.
        dev_wa: Accuracy on the development part, fitted on the training part.
        dev_uwa: Mean recall there.
        wa: Accuracy on the test part.
        uwa: Mean recall on the test part.
    """

    stream: str
    encoder: str
    layer: int
    fold: str
    penalty: float
    dev_wa: float
    dev_uwa: float
    wa: float
    uwa: float


def entries_of(study: Study) -> "list[tuple[str, Entry]]":
    """Every chosen layer of every stream."""
    return [(stream, entry) for stream, entries in study.layers.items() for entry in entries]


def probe_study(study: Study, *, pooling: str = "stats", on_entry: Callable[[str], None] | None = None) -> list[Probed]:
    """Probes every chosen layer of every stream on every fold.

    Args:
        study: With all layers to probe (``layer="all"``).
        pooling: ``stats``, ``mean`` or ``max``.
        on_entry: Called with the name of each entry before it is probed.
    """
    found = []
    for stream, entry in entries_of(study):
        if on_entry is not None:
            on_entry(f"{stream}, {entry.spec.encoder}, layer {entry.spec.layer}")
        values = pool_entry(entry, list(study.table.index), pooling)
        for fold in study.folds.folds:
            parts = [study.rows(ids) for ids in (fold.train, fold.dev, fold.test)]
            found.append(_probe(stream, entry, fold.name, values, study.targets, parts))
    return found


def _probe(
    stream: str,
    entry: "Entry",
    fold: str,
    values: NDArray[np.float32],
    targets: NDArray[np.int64],
    parts: Sequence[NDArray[np.int64]],
) -> Probed:
    from sklearn.linear_model import LogisticRegression

    from ser_fusion.evaluation.probes import standardise

    train, dev, test = parts
    best: tuple[float, float, Any] | None = None
    for penalty in PENALTIES if len(dev) else PENALTIES[2:3]:
        x_train, x_dev = standardise(values[train], values[dev] if len(dev) else values[train])
        model = LogisticRegression(C=penalty, max_iter=300, tol=1e-3).fit(x_train, targets[train])
        score = _scores(model.predict(x_dev), targets[dev])[1] if len(dev) else 0.0
        if best is None or score > best[0]:
            best = (score, penalty, model)
    assert best is not None
    model = best[2]
    _, x_test = standardise(values[train], values[test])
    dev_wa, dev_uwa = (np.nan, np.nan)
    if len(dev):
        dev_wa, dev_uwa = _scores(model.predict(standardise(values[train], values[dev])[1]), targets[dev])
    wa, uwa = _scores(model.predict(x_test), targets[test])
    return Probed(stream, entry.spec.encoder, entry.spec.layer, fold, best[1], dev_wa, dev_uwa, wa, uwa)


def _scores(predicted: NDArray[np.int64], truth: NDArray[np.int64]) -> tuple[float, float]:
    """Accuracy and mean recall over the classes that occur."""
    right = predicted == truth
    return float(right.mean()), float(np.mean([right[truth == c].mean() for c in np.unique(truth)]))


def summary(found: Sequence[Probed]) -> "pd.DataFrame":
    """One line per stream, encoder and layer: means and deviations (ddof 1) over folds; which layer development data chose,
    and which one test data would choose."""
    import pandas as pd

    frame = pd.DataFrame([{name: getattr(one, name) for name in Probed.__slots__} for one in found])
    lines = frame.groupby(["stream", "encoder", "layer"], sort=False).agg(
        folds=("fold", "count"),
        dev_uwa=("dev_uwa", "mean"),
        wa=("wa", "mean"),
        wa_std=("wa", "std"),
        uwa=("uwa", "mean"),
        uwa_std=("uwa", "std"),
    )
    lines = lines.reset_index()
    lines["chosen"] = lines["dev_uwa"] == lines.groupby(["stream", "encoder"])["dev_uwa"].transform("max")
    lines["best_on_test"] = lines["uwa"] == lines.groupby(["stream", "encoder"])["uwa"].transform("max")
    return lines
