"""Stacked rows (``--stack probes``): a head and the linear probes of its streams, weighed on development predictions.

``log p(c) = (1 - BALANCE) log prior_c + sum_k w_k (log p_k(c) - log prior_c)``, up to a constant. The experts k are the probes of
each stream the head reads, those of these streams side by side, each on every pooling, and the head. The weights are positive,
``w_k = softplus(a_k)``; L-BFGS minimises the development NLL under the whole prior plus ``SHRINK sum_k (w_k - 1/K)^2``, from
``w_k = 1/K``. An expert without frames of its stream has no say.

The whole prior makes the accuracy (WA) best, and none the mean recall (UWA). Tables print both, and the F1 scores between them:
half of the log prior serves those. It is fixed, not fitted; docs/background/statistics.md has its figures.

Development predictions are pooled as for temperatures: over folds and seeds, without the speakers that the fold tests. They
come from the first fits; the weights are applied to the refitted head and probes. Additive experts stay additive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_fusion.evaluation.parts import Part, class_prior
from ser_fusion.evaluation.references import Reference
from ser_fusion.evaluation.temperatures import FLOOR, arrays_of, left_out

SHRINK = 0.02
BALANCE = 0.5
ABSENT = 1e-6
"""Prior of a class that the training part lacks. It keeps its whole prior, or a guess at it would be a gain."""
KIND = "stacked"
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stacked:
    """One stacked row; ``info["stack"]`` holds each fold's weights, prior and experts, all that a prediction needs."""

    info: dict[str, Any]
    test: pd.DataFrame
    dev: pd.DataFrame | None


def combine(logs: Doubles, log_prior: Doubles, weights: Doubles, balance: float = 0.0) -> Doubles:
    """Posteriors of a stack, ``(n, classes)``.

    Args:
        logs: Log-posteriors of the experts, ``(experts, n, classes)``; an expert without frames gives the log prior.
        log_prior: ``(classes,)``, or ``(n, classes)``.
        weights: ``(experts,)``.
        balance: The share of the log prior that is left out, 0 to 1.
    """
    from scipy.special import softmax

    kept = np.where(log_prior > np.log(2 * ABSENT), 1 - balance, 1.0)
    posteriors: Doubles = softmax(kept * log_prior + np.tensordot(weights, logs - log_prior, axes=1), axis=1)
    return posteriors


def fit_weights(logs: Doubles, log_prior: Doubles, targets: NDArray[np.int64], shares: Doubles) -> Doubles:
    """The weights ``(experts,)`` of least development NLL, shrunk towards 1 / K; arguments as for ``combine``.

    Args:
        logs: Log-posteriors, ``(experts, n, classes)``.
        log_prior: ``(n, classes)``.
        targets: Class positions, ``(n,)``.
        shares: What each row counts, ``(n,)``.
    """
    from scipy.optimize import minimize
    from scipy.special import expit, log_softmax

    experts, rows = len(logs), np.arange(len(targets))
    evidence, total = logs - log_prior, shares.sum()

    def loss(a: Doubles) -> tuple[float, Doubles]:
        w = np.logaddexp(0, a)
        out = log_softmax(log_prior + np.tensordot(w, evidence, axes=1), axis=1)
        over = np.exp(out)
        over[rows, targets] -= 1
        slope = np.einsum("nc,enc->e", over * shares[:, None], evidence) / total + 2 * SHRINK * (w - 1 / experts)
        value = -(shares * out[rows, targets]).sum() / total + SHRINK * ((w - 1 / experts) ** 2).sum()
        return float(value), slope * expit(a)

    start = np.full(experts, np.log(np.expm1(1 / experts)))
    return np.logaddexp(0, minimize(loss, start, jac=True, method="L-BFGS-B").x)


def stacked_rows(
    rows: Sequence[Mapping[str, Any]],
    tests: pd.DataFrame,
    developments: pd.DataFrame,
    references: Sequence[Reference],
    table: pd.DataFrame,
    parts: Sequence[Part],
    present: Mapping[str, NDArray[np.bool_]],
    classes: Sequence[str],
    speakers: "pd.Series[str] | None",
) -> list[Stacked]:
    """A stacked row for every head whose streams have probes.

    Args:
        rows: Row information of the heads, each with its ``streams``.
        tests: Their test predictions.
        developments: Their development predictions; may be empty.
        references: The run's reference rows, the probes among them.
        table: Utterances with ``target``, index = id.
        parts: The folds.
        present: Stream to whether an utterance has frames of it, rows as the table.
        classes: Class names in order.
        speakers: Speaker by id.
    """
    targets = table["target"].to_numpy(dtype=np.int64)
    priors = {
        part.name: tuple(
            np.log(np.maximum(class_prior(targets[rows], len(classes)), ABSENT)) for rows in (part.train, part.fit)
        )
        for part in parts
    }
    made = []
    for row in rows:
        streams = tuple(row.get("streams", ()))
        sets = [(name,) for name in streams] + ([streams] if len(streams) > 1 else [])
        probes = [[reference for reference in references if _probes(reference, chosen)] for chosen in sets]
        if not sets or not all(probes):
            continue
        chosen = [reference for group in probes for reference in group]
        own = [frame[frame["row"] == row["slug"]].reset_index(drop=True) for frame in (tests, developments)]
        test, dev = (
            _expert_logs(frame, chosen, which, priors, table, present, classes) for which, frame in enumerate(own)
        )
        slug = f"{row['slug']}-stacked"
        stack, frames = {}, [own[0].assign(row=slug), own[1].assign(row=slug)]
        for part in parts:
            fitted = _weights(dev, own[1], table, part, speakers)
            stack[part.name] = {
                "weights": fitted.tolist(),
                "log_prior": priors[part.name][1].tolist(),
                "balance": BALANCE,
                "probes": [
                    {key: reference.info[key] for key in ("streams", "pooling")}
                    | {"fit": reference.info["fits"][part.name]}
                    for reference in chosen
                ],
            }
            for frame, whole in zip(frames, (test, dev), strict=True):
                inside = (frame["fold"] == part.name).to_numpy()
                if inside.any():
                    posteriors = combine(whole[0][:, inside], whole[1][inside], fitted, BALANCE)
                    frame.loc[inside, [f"p_{name}" for name in classes]] = posteriors.astype(np.float32)
                    frame.loc[inside, "predicted"] = np.asarray(classes, dtype=object)[posteriors.argmax(axis=1)]
        made.append(Stacked(_info(row, slug, chosen, stack), frames[0], frames[1] if len(frames[1]) else None))
    return made


def _probes(reference: Reference, streams: tuple[str, ...]) -> bool:
    """Whether a reference row is a fitted probe of these streams."""
    return bool(reference.info.get("fits")) and tuple(reference.info["streams"]) == streams


def _info(
    row: Mapping[str, Any], slug: str, probes: Sequence[Reference], stack: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    mean = np.mean([fold["weights"] for fold in stack.values()], axis=0)
    names = [*(str(probe.info["slug"]).removeprefix("probe-") for probe in probes), "head"]
    mean_weights = ", ".join(f"{name} {weight:.2f}" for name, weight in zip(names, mean, strict=True))
    note = f"the head and the probes of its streams, weighed on development predictions (mean weights: {mean_weights}), half of the prior"
    made = {"name": f"{row['name']}, stacked", "slug": slug, "kind": KIND, "of": row["slug"], "departures": []}
    return {**row, **made, "note": note, "stack": stack}


def _expert_logs(
    frame: pd.DataFrame,
    probes: Sequence[Reference],
    which: int,
    priors: Mapping[str, tuple[Doubles, ...]],
    table: pd.DataFrame,
    present: Mapping[str, NDArray[np.bool_]],
    classes: Sequence[str],
) -> tuple[Doubles, Doubles]:
    """Log-posteriors of all experts ``(experts, n, classes)`` and log priors ``(n, classes)`` for a head's predictions.

    ``which`` is 0 for test predictions, whose models may be refitted, and 1 for development predictions, by the first fits.
    """
    experts = len(probes) + 1
    prior = np.zeros((len(frame), len(classes)))
    logs = np.zeros((experts, len(frame), len(classes)))
    logs[-1] = np.log(np.maximum(arrays_of(frame, classes)[0], FLOOR)) if len(frame) else 0.0
    for fold, own_priors in priors.items():
        inside = np.flatnonzero((frame["fold"] == fold).to_numpy())
        ids = frame["id"].to_numpy()[inside]
        prior[inside] = own_priors[1 - which]
        for number, probe in enumerate(probes):
            source = probe.dev if which else probe.test
            if source is None or not len(inside):
                continue
            own = source[source["fold"] == fold].set_index("id").loc[ids]
            evidence = np.log(np.maximum(arrays_of(own, classes)[0], FLOOR))
            heard = np.any(
                [present[name][table.index.get_indexer(pd.Index(ids))] for name in probe.info["streams"]], axis=0
            )
            logs[number, inside] = np.where(heard[:, None], evidence, prior[inside])
    return logs, prior


def _weights(
    dev: tuple[Doubles, Doubles],
    frame: pd.DataFrame,
    table: pd.DataFrame,
    part: Part,
    speakers: "pd.Series[str] | None",
) -> Doubles:
    """The weights of a fold; equal ones without development predictions."""
    logs, prior = dev
    kept = ~left_out(frame["id"], table.index[part.test], speakers)
    if not kept.any():
        return np.full(len(logs), 1 / len(logs))
    ids = frame["id"][kept]
    shares: Doubles = np.asarray(1 / ids.map(ids.value_counts()), dtype=np.float64)
    targets = table["target"].to_numpy(dtype=np.int64)[table.index.get_indexer(pd.Index(ids))]
    return fit_weights(logs[:, kept], prior[kept], targets, shares)
