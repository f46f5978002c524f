"""One rule for temperatures: what logits are divided by, so that posteriors are worth their face value.

A temperature has the least NLL on development predictions, shrunk towards 1. It stays 1 where development data cannot
support it. Evaluation, ensembles, prediction, export and the head ``late-calibrated`` all use this rule.

The rule, with its constants:

- All development predictions of a row are pooled over folds and seeds. A fold's own fit leaves out the speakers that this
  fold tests. The models behind other folds' predictions may have trained on those speakers: an indirect sharing that stays.
- An utterance that is predicted several times (by seeds, or in several folds) counts once in all.
- The fit minimises ``NLL + (log T)^2 / (2 WIDTH^2)``, in nats over all utterances, with T within ``BOUNDS``.
- T is 1 where there are fewer than ``ERRORS`` errors, or where the NLL of a cross-fit over speakers does not gain more than
  one standard error (over speakers; over utterances where fewer than two speakers are known).

Source of temperature scaling: Guo et al., ICML 2017.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_fusion.evaluation.metrics import class_positions

WIDTH = 0.5
"""Standard deviation of log T in the prior: most temperatures lie between .6 and 1.65 before data has spoken."""
BOUNDS = (0.5, 5.0)
ERRORS = 20
"""Fewest development errors that a temperature is fitted on."""
PARTS = 5
"""Parts of the cross-fit at most."""
FLOOR = 1e-7
"""Posteriors below count as this."""
NO_DEVELOPMENT = "there is no development part"


@dataclass(frozen=True, slots=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: What logits are divided by, within ``BOUNDS``; 1 where calibration was not applied.
        why: Why it was not applied, as the rest of a sentence ("there are 3 development errors ..."); empty if it was.
    """

    value: float
    why: str = ""


def tempered(posteriors: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Posteriors of the same logits divided by ``temperature``, one for all or ``(n, 1)``."""
    logits = np.log(np.maximum(posteriors, FLOOR)) / temperature
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def fit_temperature(
    posteriors: np.ndarray, targets: np.ndarray, units: np.ndarray | None = None, weights: np.ndarray | None = None
) -> Temperature:
    """The temperature of some development predictions.

    Args:
        posteriors: ``(n, classes)``, rows sum to 1.
        targets: ``(n,)`` class positions.
        units: ``(n,)`` speaker of each; they are never on both sides of the cross-fit. None: every row for itself.
        weights: ``(n,)``, 1 / how often the utterance occurs; None: 1 each.
    """
    logits = np.log(np.maximum(posteriors, FLOOR))
    weights = np.ones(len(targets)) if weights is None else weights
    wrong = float(weights[logits.argmax(axis=1) != targets].sum())
    if round(wrong, 6) < ERRORS:
        return Temperature(1.0, f"there are {wrong:.0f} development errors, and it needs {ERRORS}")
    codes = np.arange(len(targets)) if units is None else np.unique(units.astype(str), return_inverse=True)[1]
    if codes.max() == 0:
        codes = np.arange(len(targets))
    gain = np.empty(len(targets))
    for part in range(PARTS):
        held = codes % PARTS == part
        if held.any() and not held.all():
            temperature = _least(logits[~held], targets[~held], weights[~held])
            gain[held] = _nll(logits[held], targets[held], 1.0) - _nll(logits[held], targets[held], temperature)
    total = weights.sum()
    mean = float((weights * gain).sum() / total)
    rest = np.bincount(codes, weights * (gain - mean))
    error = float(np.sqrt((rest**2).sum() * len(rest) / (len(rest) - 1)) / total)
    if not mean > error:
        return Temperature(
            1.0, f"a cross-fit gains {mean:.3f} nats of NLL, not more than one standard error ({error:.3f})"
        )
    return Temperature(_least(logits, targets, weights))


def fold_temperatures(
    development: pd.DataFrame | None,
    tested: Mapping[str, Iterable[str]],
    classes: Sequence[str],
    speakers: "pd.Series[str] | None" = None,
) -> dict[str, Temperature]:
    """The temperature of every fold of a row, by the rule of this module.

    Args:
        development: Development predictions of the row, of all folds and seeds: ``id, label, p_<class> ...``; None for none.
        tested: Fold to the ids that it tests.
        classes: Class names in order.
        speakers: Speaker by id; missing values and ids count as a speaker of their own. None where none is known.
    """
    if development is None or not len(development):
        return {fold: Temperature(1.0, NO_DEVELOPMENT) for fold in tested}
    theirs = {fold: [str(name) for name in inside] for fold, inside in tested.items()}
    names = [*(str(name) for name in development["id"]), *chain.from_iterable(theirs.values())]
    units, n = units_of(names, speakers), len(development)
    utterance, unit = pd.factorize(np.array(names, object))[0], pd.factorize(units)[0]
    posteriors, targets = arrays_of(development, classes)
    fitted: dict[bytes, Temperature] = {}
    temperatures, end = {}, n
    for fold, inside in theirs.items():
        begin, end = end, end + len(inside)
        kept = ~np.isin(unit[:n], unit[begin:end])
        if (mark := kept.tobytes()) not in fitted:
            if not kept.any():
                fitted[mark] = Temperature(1.0, "every development speaker is tested")
            else:
                own = utterance[:n][kept]
                weights = 1 / np.bincount(own)[own]
                fitted[mark] = fit_temperature(posteriors[kept], targets[kept], units[:n][kept], weights)
        temperatures[fold] = fitted[mark]
    return temperatures


def units_of(ids: Iterable[str], speakers: "pd.Series[str] | None") -> NDArray[np.object_]:
    """The speaker of each id, ``(n,)``; an id without one is a speaker of its own."""
    names = [str(name) for name in ids]
    own = np.array([f"\0{name}" for name in names], dtype=object)
    if speakers is None:
        return own
    single = speakers[~speakers.index.duplicated(keep="last")]
    who = single.astype(object).set_axis(single.index.astype(str)).reindex(names).to_numpy(dtype=object)
    return np.where(pd.isna(who) | (who == ""), own, who)


def left_out(ids: Iterable[str], tested: Iterable[str], speakers: "pd.Series[str] | None") -> NDArray[np.bool_]:
    """Whether a fold that tests ``tested`` must not look at the development predictions of ``ids``: it tests their speaker."""
    theirs = set(units_of(tested, speakers))
    return np.array([unit in theirs for unit in units_of(ids, speakers)], bool)


def arrays_of(frame: pd.DataFrame, classes: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Posteriors ``(n, classes)``, rows summing to 1, and class positions ``(n,)`` of predictions."""
    posteriors = frame[[f"p_{name}" for name in classes]].to_numpy(dtype=np.float64)
    total = posteriors.sum(axis=1, keepdims=True)
    return posteriors / np.where(total > 0, total, 1.0), class_positions(frame["label"], classes)


def _nll(logits: np.ndarray, targets: np.ndarray, temperature: float) -> NDArray[np.float64]:
    """NLL of each row, in nats, ``(n,)``."""
    scaled = logits / temperature
    top = scaled.max(axis=1)
    total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
    nll: NDArray[np.float64] = total - scaled[np.arange(len(targets)), targets]
    return nll


def _least(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """The shrunk temperature with the least NLL."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        nll = float(weights @ _nll(logits, targets, float(np.exp(log_temperature))))
        return nll + log_temperature**2 / (2 * WIDTH**2)

    minimum = minimize_scalar(loss, bounds=tuple(np.log(BOUNDS)), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(minimum.x))
