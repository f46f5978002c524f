"""Rows of linear probes: each stream alone, all streams side by side, and the product of the streams' posteriors.

Every probe is there twice, on the mean of the frames over time and on mean and deviation: which is better differs from
corpus to corpus. The product takes, for each stream and fold, the pooling with the lower development NLL, at the stream's
temperature: ``log p = sum_s log p_s - (S - 1) log prior``. A stream without frames has no say in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_fusion.evaluation.parts import Part, class_prior, posterior_frame, reference_row
from ser_fusion.evaluation.probes import Fit, Fits, Probe
from ser_fusion.evaluation.temperatures import Temperature, fold_temperatures, tempered
from ser_fusion.study.data import Pooled

POOLINGS = {"mean": "mean", "stats": "mean+std", "max": "max"}
"""Poolings over time, and how a probe's name says them."""
POOLING_WORDS = {"mean": "time mean", "stats": "mean and deviation over time", "max": "maximum over time"}


@dataclass(slots=True)
class ProbeRow:
    """One row and its probes.

    Attributes:
        info: The row as ``run.json`` holds it; ``fits`` names each fold's probe, ``streams`` what it reads.
        test: Test predictions.
        dev: Development predictions, by the fits that have not seen them; None where there is no development part.
        probes: Fold to probe.
    """

    info: dict[str, Any]
    test: pd.DataFrame
    dev: pd.DataFrame | None
    probes: dict[str, Probe] = field(default_factory=dict)


def probe_name(streams: Sequence[str], pooling: str) -> str:
    """As printed: ``Probe (audio, mean)``."""
    return f"Probe ({_which(streams)}, {POOLINGS[pooling]})"


def probe_slug(streams: Sequence[str], pooling: str) -> str:
    """As written in files: ``probe-audio-mean``."""
    return f"probe-{_which(streams)}-{pooling}"


def joined(features: Mapping[str, NDArray[np.float32]], streams: Sequence[str]) -> NDArray[np.float32]:
    """Pooled features of some streams side by side, ``(n, d)``."""
    parts = [features[name] for name in streams]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def probe_rows(
    table: pd.DataFrame,
    classes: Sequence[str],
    features: Pooled,
    parts: Sequence[Part],
    fits: Fits,
    speakers: "pd.Series[str] | None" = None,
    *,
    joint: bool = True,
) -> list[ProbeRow]:
    """All probe rows on some folds.

    Args:
        table: Utterances with ``target`` (class position), index = id.
        classes: Class names in order.
        features: Pooled features of every stream; may be empty.
        parts: The folds.
        fits: Where fits are looked up and kept.
        speakers: Speaker by id, for the temperatures of the product.
        joint: Whether the streams side by side are probed too: they have the most features, and so take the most time.
    """
    targets = table["target"].to_numpy(dtype=np.int64)
    streams = tuple(next(iter(features.values()), {}))
    rows: dict[tuple[tuple[str, ...], str], ProbeRow] = {}
    fits.fit_all(probe_fits(table, classes, features, parts, joint=joint))
    for (chosen, pooling), x in _inputs(features, joint).items():
        rows[chosen, pooling] = _row(table, classes, targets, x, chosen, pooling, parts, fits)
    made = list(rows.values())
    if len(streams) > 1:
        each = {name: {pooling: rows[(name,), pooling] for pooling in features} for name in streams}
        there: dict[str, NDArray[np.bool_]] = {
            name: np.any(next(iter(features.values()))[name] != 0, axis=1) for name in streams
        }
        made.append(_product(table, classes, targets, parts, each, there, speakers))
    return made


def probe_fits(
    table: pd.DataFrame, classes: Sequence[str], features: Pooled, parts: Sequence[Part], *, joint: bool = True
) -> list[Fit]:
    """The fits that ``probe_rows`` needs; arguments as there."""
    targets = table["target"].to_numpy(dtype=np.int64)
    return [
        (x, targets, part.train, part.dev, len(classes), part.refit)
        for x in _inputs(features, joint).values()
        for part in parts
    ]


def _inputs(features: Pooled, joint: bool) -> dict[tuple[tuple[str, ...], str], NDArray[np.float32]]:
    """What each probe reads, by streams and pooling."""
    streams = tuple(next(iter(features.values()), {}))
    sets = [(name,) for name in streams] + ([streams] if joint and len(streams) > 1 else [])
    return {(chosen, pooling): joined(values, chosen) for chosen in sets for pooling, values in features.items()}


def _which(streams: Sequence[str]) -> str:
    return streams[0] if len(streams) == 1 else "both" if len(streams) == 2 else "all"


def _row(
    table: pd.DataFrame,
    classes: Sequence[str],
    targets: NDArray[np.int64],
    x: NDArray[np.float32],
    streams: tuple[str, ...],
    pooling: str,
    parts: Sequence[Part],
    fits: Fits,
) -> ProbeRow:
    tests, devs, probes, keys = [], [], {}, {}
    for part in parts:
        key, probe = fits.fit(x, targets, part.train, part.dev, len(classes), part.refit)
        probes[part.name], keys[part.name] = probe, key
        tests.append(posterior_frame(table, classes, part.test, part.name, 0, probe.posteriors(x[part.test])))
        devs.append(posterior_frame(table, classes, part.dev, part.name, 0, probe.dev))
    penalties = sorted({probe.penalty for probe in probes.values()})
    span = f"{penalties[0]:g}" if len(penalties) == 1 else f"{penalties[0]:g} to {penalties[-1]:g}"
    how = "chosen on development data" if any(len(part.dev) for part in parts) else "fixed"
    note = f"logistic regression on {POOLING_WORDS[pooling]}, {x.shape[1]} features, C = {span} ({how})"
    info = reference_row(
        probe_slug(streams, pooling), probe_name(streams, pooling), note, len(classes) * (x.shape[1] + 1)
    )
    info |= {"pooling": pooling, "streams": list(streams), "fits": keys}
    return ProbeRow(info, pd.concat(tests, ignore_index=True), _whole(devs), probes)


def _product(
    table: pd.DataFrame,
    classes: Sequence[str],
    targets: NDArray[np.int64],
    parts: Sequence[Part],
    each: Mapping[str, Mapping[str, ProbeRow]],
    there: Mapping[str, NDArray[np.bool_]],
    speakers: "pd.Series[str] | None",
) -> ProbeRow:
    columns = [f"p_{name}" for name in classes]
    tested = {part.name: table.index[part.test] for part in parts}
    heat: dict[tuple[str, str], dict[str, Temperature]] = {
        (stream, pooling): fold_temperatures(row.dev, tested, classes, speakers)
        for stream, by_pooling in each.items()
        for pooling, row in by_pooling.items()
    }
    tests: list[pd.DataFrame] = []
    devs: list[pd.DataFrame] = []
    taken: set[tuple[str, str]] = set()
    for part in parts:
        picks = {stream: _better(by_pooling, part, targets) for stream, by_pooling in each.items()}
        taken |= set(picks.items())
        for rows, fit, frames in ((part.test, part.fit, tests), (part.dev, part.train, devs)):
            prior = np.log(np.maximum(class_prior(targets[fit], len(classes)), 1e-6))
            total = prior
            for stream, pooling in picks.items():
                row = each[stream][pooling]
                whole = row.test if frames is tests else row.dev
                if whole is None or not len(rows):
                    continue
                values = whole.loc[whole["fold"] == part.name, columns].to_numpy(dtype=np.float64)
                log = np.log(tempered(values, heat[stream, pooling][part.name].value))
                total = total + np.where(there[stream][rows][:, None], log - prior, 0.0)
            posteriors = np.exp(total - total.max(axis=-1, keepdims=True)) * np.ones((len(rows), 1))
            posteriors /= posteriors.sum(axis=1, keepdims=True)
            frames.append(posterior_frame(table, classes, rows, part.name, 0, posteriors))
    said = ", ".join(sorted({f"{stream} {POOLINGS[pooling]}" for stream, pooling in taken}))
    note = f"product of the streams' probes at their temperatures, divided by the prior ({said}: by development data)"
    info = reference_row("probe-product", "Probe (product)", note)
    info |= {"streams": list(each), "factors": [each[s][p].info["slug"] for s, p in sorted(taken)]}
    return ProbeRow(info, pd.concat(tests, ignore_index=True), _whole(devs))


def _better(rows: Mapping[str, ProbeRow], part: Part, targets: NDArray[np.int64]) -> str:
    """The pooling with the lower NLL on this fold's development part; the first without one."""

    def nll(pooling: str) -> float:
        posteriors = rows[pooling].probes[part.name].dev
        return float(-np.log(np.maximum(posteriors[np.arange(len(posteriors)), targets[part.dev]], 1e-12)).mean())

    return min(rows, key=nll) if len(part.dev) else next(iter(rows))


def _whole(frames: Sequence[pd.DataFrame]) -> pd.DataFrame | None:
    kept = [frame for frame in frames if len(frame)]
    return pd.concat(kept, ignore_index=True) if kept else None
