"""Ensembles as rows of the run: the mean of calibrated log-posteriors over seeds, and over folds where that is honest.

Every member's logits are divided by the temperature of its fold (``temperatures``), which no test prediction has part in.

``seeds``  heads of one fold with different seeds have trained on the same utterances and are tested on the same others:
           their mean is a model like any other, in cross-validation too.
``folds``  a head of another fold has, in ordinary cross-validation, trained on the very utterances that this fold tests.
           Only folds that test the same utterance may vote on it: ``official-5`` (five development parts, one test part),
           ``source-target`` (several sources, one target), or folds of your own. Elsewhere this is refused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ser_fusion.errors import NoEnsemble
from ser_fusion.evaluation.calibration import not_applied
from ser_fusion.evaluation.temperatures import FLOOR, arrays_of, fold_temperatures, tempered

if TYPE_CHECKING:
    from ser_data.protocols import Folds

KINDS = ("seeds", "folds")
ALL_FOLDS = "all folds"


@dataclass(frozen=True)
class Ensemble:
    """One row made of others' predictions.

    Attributes:
        info: The row as ``run.json`` holds it: ``kind`` is ``ensemble``, ``of`` the row whose heads vote.
        test: Predictions in the run directory's columns, ``seed`` 0.
        dev: Development predictions of the same kind; None for ``folds``, whose members do not share a development part.
    """

    info: dict[str, Any]
    test: pd.DataFrame
    dev: pd.DataFrame | None


def require_members(kinds: Iterable[str], folds: "Folds", seeds: Sequence[int]) -> None:
    """Refuses ensembles that would have one member, before anything is trained.

    Raises:
        NoEnsemble: ``seeds`` with one seed, or ``folds`` where no utterance is tested by two folds.
    """
    if "seeds" in kinds and len(seeds) < 2:
        raise NoEnsemble("seeds", f"there is one seed, {seeds[0]}", "Give several, as --seeds 0-2.")
    tested = [name for fold in folds.folds for name in fold.test]
    if "folds" in kinds and len(set(tested)) == len(tested):
        problem = (
            f"under the protocol '{folds.protocol}' no utterance is tested by two folds: the heads of the other "
            "folds have trained on what this one tests"
        )
        remedy = "Use --ensemble seeds, or --protocol official-5 or source-target, whose folds share test utterances."
        raise NoEnsemble("folds", problem, remedy)


def ensemble_rows(
    kinds: Iterable[str],
    rows: Sequence[dict[str, Any]],
    tests: pd.DataFrame,
    developments: pd.DataFrame | None,
    classes: Sequence[str],
    speakers: "pd.Series[str] | None" = None,
) -> list[Ensemble]:
    """The ensembles of every row that has members.

    Args:
        kinds: Of ``KINDS``.
        rows: Row information of trained rows.
        tests: Their test predictions: ``row, id, fold, seed, label, predicted, p_<class> ...``.
        developments: Their development predictions, or None.
        classes: Class names in order.
        speakers: Speaker by id, for the temperatures.
    """
    made = []
    for row in rows:
        own = tests[tests["row"] == row["slug"]]
        seen = None if developments is None else developments[developments["row"] == row["slug"]]
        test, dev, how = _calibrated(own, seen, classes, speakers)
        seeds, folds = own["seed"].nunique(), own["fold"].nunique()
        if "seeds" in kinds and seeds > 1:
            info = _info(row, "seeds", f"{seeds} seeds", f"mean log-posterior of {seeds} seeds of the same fold, {how}")
            averaged = [None if part is None else _mean(part, ["id", "fold"], classes) for part in (test, dev)]
            made.append(_ensemble(info, averaged[0], averaged[1]))
        if "folds" in kinds and (own.groupby("id")["fold"].nunique() > 1).any():
            members = f"{folds} folds" + (f" x {seeds} seeds" if seeds > 1 else "")
            note = f"mean log-posterior of the heads of all folds that test the utterance ({members}), {how}"
            averaged_test = _mean(test, ["id"], classes).assign(fold=ALL_FOLDS)
            made.append(_ensemble(_info(row, "folds", members, note), averaged_test, None))
    return made


def _info(row: dict[str, Any], kind: str, members: str, note: str) -> dict[str, Any]:
    return {
        **row,
        "name": f"{row['name']}, {members} averaged",
        "slug": f"{row['slug']}-ensemble-{kind}",
        "kind": "ensemble",
        "of": row["slug"],
        "departures": [],
        "note": note,
    }


def _ensemble(info: dict[str, Any], test: pd.DataFrame | None, dev: pd.DataFrame | None) -> Ensemble:
    assert test is not None
    for frame in (test, dev):
        if frame is not None:
            frame["row"] = info["slug"]
    return Ensemble(info, test, dev)


def _columns(classes: Sequence[str]) -> list[str]:
    return [f"p_{name}" for name in classes]


def _calibrated(
    test: pd.DataFrame, dev: pd.DataFrame | None, classes: Sequence[str], speakers: "pd.Series[str] | None"
) -> tuple[pd.DataFrame, pd.DataFrame | None, str]:
    """Both parts with the posteriors of every fold at its temperature; and in words how they were calibrated."""
    columns = _columns(classes)
    tested = {str(fold): part["id"].astype(str) for fold, part in test.groupby("fold")}
    fitted = fold_temperatures(dev, tested, classes, speakers)

    def cooled(frame: pd.DataFrame) -> pd.DataFrame:
        divisors = frame["fold"].astype(str).map(lambda fold: fitted[fold].value if fold in fitted else 1.0).to_numpy()
        return _with(frame, columns, tempered(arrays_of(frame, classes)[0], divisors[:, None]))

    why = not_applied(fitted.values())
    how = f"not calibrated: {why}" if why else "each calibrated on development predictions"
    return cooled(test), None if dev is None or not len(dev) else cooled(dev), how


def _with(frame: pd.DataFrame, columns: list[str], values: np.ndarray) -> pd.DataFrame:
    return frame.assign(**{name: values[:, k] for k, name in enumerate(columns)})


def mean_log(posteriors: np.ndarray) -> np.ndarray:
    """The mean log-posterior of several members, normalised: ``(n, classes)`` from ``(members, n, classes)``."""
    if len(posteriors) == 1:
        return posteriors[0]
    logs = np.log(np.maximum(posteriors, FLOOR)).mean(axis=0)
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _mean(frame: pd.DataFrame, keys: list[str], classes: Sequence[str]) -> pd.DataFrame:
    """Mean log-posteriors by id (and fold), normalised, with the class that they favour."""
    columns = _columns(classes)
    logs = frame.assign(**{name: np.log(np.maximum(frame[name], FLOOR)) for name in columns})
    grouped = logs.groupby(keys, sort=False)
    means = grouped[columns].mean().join(grouped["label"].first()).reset_index()
    names = np.asarray(classes, dtype=object)
    posteriors = np.exp(means[columns].to_numpy(dtype=np.float64))
    posteriors = posteriors / posteriors.sum(axis=1, keepdims=True)
    means = means.assign(
        row="", seed=np.int64(0), predicted=names[posteriors.argmax(axis=1)], fold=means.get("fold", "")
    )
    means[columns] = posteriors.astype(np.float32)
    return means[["row", "id", "fold", "seed", "label", "predicted", *columns]]
