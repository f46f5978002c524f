"""Linear probes over every cached layer and stream: the cheap question that comes before any head.

The probes are those of the reference rows (``evaluation.probes``), so a layer's numbers here are that row's numbers in
a run. The layer and the pooling are chosen on development data. The best layer by test score is shown too, marked as
what it is: chosen on test data, too good by the choice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ser_fusion.evaluation.metrics import scores_of
from ser_fusion.evaluation.parts import Part, parts_of
from ser_fusion.evaluation.probe_rows import POOLINGS
from ser_fusion.evaluation.probes import fit_probe
from ser_fusion.study.data import pool_entry
from ser_fusion.study.open import Study
from ser_fusion.study.usable import check_classes, check_two_classes

if TYPE_CHECKING:
    import pandas as pd

    from ser_cache import Entry


@dataclass(frozen=True, slots=True)
class Probed:
    """One entry on one fold.

    Attributes:
        stream: Name of the stream.
        encoder: Public name of the encoder.
        layer: Hidden state.
        pooling: ``mean``, ``mean+std`` or ``max``.
        fold: Name of the fold.
        penalty: C chosen on the development part.
        dev_wa: Accuracy on the development part, fitted on the training part.
        dev_uwa: Mean recall there.
        wa: Accuracy on the test part.
        uwa: Mean recall on the test part.
        counts: Confusion matrix of the test part, (classes, classes), rows the true class.
    """

    stream: str
    encoder: str
    layer: int
    pooling: str
    fold: str
    penalty: float
    dev_wa: float
    dev_uwa: float
    wa: float
    uwa: float
    counts: NDArray[np.float64]


def entries_of(study: Study) -> "list[tuple[str, Entry]]":
    """Every chosen layer of every stream."""
    return [(stream, entry) for stream, entries in study.layers.items() for entry in entries]


def probe_study(
    study: Study,
    *,
    poolings: Sequence[str] = ("mean", "stats"),
    refit: bool = False,
    on_entry: Callable[[str], None] | None = None,
) -> list[Probed]:
    """Probes every chosen layer of every stream on every fold.

    Args:
        study: With all layers to probe (``layer="all"``).
        poolings: Of ``mean``, ``stats`` and ``max``.
        refit: Fit what is tested on training and development part together, as a run that refits its heads.
        on_entry: Called with the name of each entry before it is probed.
    """
    check_two_classes(study)
    probed = []
    parts = parts_of(study.table.index, study.folds.folds, refit)
    for part in parts:
        check_classes(study, part.name, part.train, least=2)
    for stream, entry in entries_of(study):
        if on_entry is not None:
            on_entry(f"{stream}, {entry.spec.encoder}, layer {entry.spec.layer}")
        for pooling in poolings:
            values = pool_entry(entry, list(study.table.index), pooling)
            names = (stream, entry.spec.encoder, entry.spec.layer, POOLINGS[pooling])
            probed += [_probe(names, values, study.targets, len(study.classes), part) for part in parts]
    return probed


def _probe(
    names: tuple[str, str, int, str], values: NDArray[np.float32], targets: NDArray[np.int64], classes: int, part: Part
) -> Probed:
    probe = fit_probe(values, targets, part.train, part.dev, classes, part.refit)
    counts = _counts(probe.posteriors(values[part.test]), targets[part.test], classes)
    wa, uwa = _scores(counts)
    dev_wa, dev_uwa = _scores(_counts(probe.dev, targets[part.dev], classes)) if len(part.dev) else (np.nan, np.nan)
    return Probed(*names, part.name, probe.penalty, dev_wa, dev_uwa, wa, uwa, counts)


def _counts(posteriors: NDArray[np.float64], truth: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    counts = np.zeros((classes, classes))
    np.add.at(counts, (truth, posteriors.argmax(axis=1)), 1.0)
    return counts


def _scores(counts: NDArray[np.float64]) -> tuple[float, float]:
    """Accuracy and mean recall over the classes that occur."""
    scores = scores_of(counts)
    return float(scores["WA"]), float(scores["UWA"])


def folds_of(probed: Sequence[Probed]) -> "pd.DataFrame":
    """One line per entry, pooling and fold."""
    import pandas as pd

    names = [name for name in Probed.__slots__ if name != "counts"]
    return pd.DataFrame([{name: getattr(probe, name) for name in names} for probe in probed])


def summary(probed: Sequence[Probed]) -> "pd.DataFrame":
    """One line per stream, encoder, layer and pooling: means and deviations (ddof 1) over folds, and the UWA of all test parts
    pooled; which line development data chose for the stream, and which one test data would choose."""
    import pandas as pd

    keys = ["stream", "encoder", "layer", "pooling"]
    lines = (
        folds_of(probed)
        .groupby(keys, sort=False)
        .agg(
            folds=("fold", "count"),
            dev_uwa=("dev_uwa", "mean"),
            wa=("wa", "mean"),
            wa_std=("wa", "std"),
            uwa=("uwa", "mean"),
            uwa_std=("uwa", "std"),
        )
    )
    lines = lines.reset_index()
    frame = pd.DataFrame([{**{key: getattr(probe, key) for key in keys}, "counts": probe.counts} for probe in probed])
    pooled = [_scores(np.sum(list(part), axis=0))[1] for _, part in frame.groupby(keys, sort=False)["counts"]]
    lines = lines.assign(uwa_pooled=pooled)
    lines["chosen"] = lines["dev_uwa"] == lines.groupby(["stream", "encoder"])["dev_uwa"].transform("max")
    lines["best_on_test"] = lines["uwa"] == lines.groupby(["stream", "encoder"])["uwa"].transform("max")
    return lines
