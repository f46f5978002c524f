"""Leak audit: the same cheap models under four ways of making folds. What falls when a key is held out was leakage.

TF-IDF on the words, linear probes on the pooled features, and the prior rows, under ``random``, ``session``,
``speaker`` and ``session+scenario``. On IEMOCAP (7 classes) TF-IDF falls from WA .506 to .271 once scenarios are held
out too, and dropping as many turns of other scenarios changes nothing; that control (``session, as small``) is made
here too. The rows are the reference rows of a run, by the run's own rules for the development part and for refitting;
only the probes on mean and deviation, and on the streams side by side, are left out for time: the product of
the streams' probes says what both give. Training heads under every protocol is ``--audit-heads``.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ser_base.errors import SerError
from ser_fusion.evaluation.audit_words import CONTROL, STRICT, TRIVIAL, audit_words
from ser_fusion.evaluation.breakdowns import seen_text
from ser_fusion.evaluation.metrics import DEFINITIONS, METRICS, class_positions, confusion, scores_of, unit_counts
from ser_fusion.evaluation.parts import Part, parts_of, unit_kind
from ser_fusion.evaluation.probe_rows import probe_fits
from ser_fusion.evaluation.probes import Fits
from ser_fusion.evaluation.references import deterministic_rows, fixed_rows
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.evaluation.statistics import difference_test
from ser_fusion.study.data import Pooled

if TYPE_CHECKING:
    from ser_data.protocols import Folds
    from ser_fusion.study.open import Study

PROTOCOLS = ("random", "session", "speaker", "session+scenario")
JOINT = False  # probes on all streams side by side have the most features, and took two thirds of the time
MOST_FOLDS = 60  # MELD's 304 speakers would cost an hour of linear fits
Heads = Mapping[str, Sequence[tuple[dict[str, Any], pd.DataFrame]]]


def audit_table(
    table: pd.DataFrame,
    classes: Sequence[str],
    features: Pooled,
    *,
    dev: str = "none",
    refit: bool = False,
    fits: Fits | None = None,
    protocols: Sequence[str] = PROTOCOLS,
    heads: Heads | None = None,
    permutations: int = 200,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Audits a corpus.

    Args:
        table: Usable utterances with ``target``, the manifest's columns, index = id.
        classes: Class names in order.
        features: Pooled features of every stream, of which the time means are probed; may be empty.
        dev: How development parts are made; a protocol that cannot follow it follows its own rule, or makes none.
        refit: Whether rows are fitted on the development part too.
        fits: Where probes are looked up and kept.
        protocols: Names of ``ser_data.protocols``; those that the corpus cannot serve are listed in ``skipped``.
        heads: Predictions of trained heads by protocol (``--audit-heads``), as (row information, predictions).
        permutations: Label shufflings within folds for each band of chance.
        seed: Of folds drawn at random and of the shufflings.
        progress: Called with "protocol: row" before each step.

    Returns:
        Plain data: ``protocols``, ``skipped`` (protocol to reason), ``rows`` (name, slug, ``scores`` by protocol with
        ``low`` and ``high`` of the permutation band of UWA), ``overlap`` (share of test texts seen in training),
        ``words``.
    """
    fits = fits or Fits()
    means = {name: values for name, values in features.items() if name == "mean"}
    fits.ahead(len(table) * sum(values.shape[1] for values in means.get("mean", {}).values()))
    grounds, fixed = _grounds(table, protocols, dev, refit, seed), fixed_rows(table, classes)
    if means and progress is not None:
        progress(f"{', '.join(grounds.plans)}: linear probes")
    # most folds first: while the last fits are made, little is left to do with those before them
    plans = dict(sorted(grounds.plans.items(), key=lambda plan: -len(plan[1])))
    fits.begin([fit for parts in plans.values() for fit in probe_fits(table, classes, means, parts, joint=JOINT)])
    scored: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for name, parts in plans.items():
        step = None if progress is None else functools.partial(_said, progress, name)
        made = deterministic_rows(table, classes, means, parts, fits, fixed=fixed, joint=JOINT, progress=step)
        predicted = [(reference.info, reference.test) for reference in made] + list((heads or {}).get(name, ()))
        scored[name] = [(row, _scored(frame, classes, permutations, seed)) for row, frame in predicted]
        against = _against_trivial(predicted, table, classes)
        for row, scores in scored[name]:
            if row["slug"] in against:
                scores["against"] = against[row["slug"]]
    rows: dict[str, dict[str, Any]] = {}
    for name in grounds.plans:
        for row, scores in scored[name]:
            empty = {"slug": row["slug"], "name": row["name"], "kind": row["kind"], "scores": {}}
            rows.setdefault(row["slug"], empty)["scores"][name] = scores
    audit: dict[str, Any] = {
        "format": 1,
        "protocols": list(grounds.plans),
        "skipped": grounds.skipped,
        "dev": grounds.rules,
        "refit": refit,
        "classes": list(classes),
        "n": len(table),
        "permutations": permutations,
        "definitions": {metric: DEFINITIONS[metric] for metric in METRICS},
        "rows": list(rows.values()),
        "overlap": grounds.overlap,
    }
    return {**audit, "words": audit_words(audit)}


@dataclass(slots=True)
class _Grounds:
    """What is audited.

    Attributes:
        plans: Name to folds: the protocols that the corpus can serve, and the control.
        skipped: Protocol to the reason why not.
        overlap: Protocol to the share of test texts that are seen in training.
        rules: Protocol to how its development parts are made.
    """

    plans: dict[str, list[Part]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    overlap: dict[str, float] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)


def _grounds(table: pd.DataFrame, protocols: Sequence[str], dev: str, refit: bool, seed: int) -> _Grounds:
    ready = table.assign(id=table.index) if "id" not in table else table
    grounds = _Grounds()
    for protocol in protocols:
        folds, reason = _folds(ready, protocol, dev, seed)
        if folds is not None and len(folds.folds) > MOST_FOLDS:
            reason = f"protocol '{protocol}' makes {len(folds.folds)} folds; at most {MOST_FOLDS} are audited"
        if folds is None or reason:
            grounds.skipped[protocol] = reason
            continue
        parts = parts_of(table.index, folds.folds, refit)
        lonely = [part.name for part in parts if table["target"].iloc[part.train].nunique() < 2]
        if lonely:
            grounds.skipped[protocol] = (
                f"protocol '{protocol}' leaves one class in the training part of fold {lonely[0]}"
            )
            continue
        grounds.rules[protocol], grounds.plans[protocol] = folds.dev, parts
        if protocol == STRICT:
            grounds.plans[CONTROL] = _as_small(table, parts, seed)
        listed = pd.concat(
            pd.DataFrame({"id": list(getattr(fold, part)), "fold": fold.name, "part": part})
            for fold in folds.folds
            for part in ("train", "test")
        )
        seen = seen_text(table, listed)
        if seen is not None:
            grounds.overlap[protocol] = float(seen.mean())
    return grounds


def _folds(table: pd.DataFrame, protocol: str, dev: str, seed: int) -> tuple["Folds | None", str]:
    """The folds of a protocol with the run's development rule, else its own, else none; or why there are no folds."""
    from ser_data.protocols import make_folds

    reason = ""
    for rule in dict.fromkeys((dev, "next", "none")):
        try:
            return make_folds(table, protocol, dev=rule, seed=seed), ""
        except SerError as error:
            reason = str(error).splitlines()[0]
    return None, reason


def _said(progress: Callable[[str], None], protocol: str, name: str) -> None:
    progress(f"{protocol}: {name}")


def _scored(predictions: pd.DataFrame, classes: Sequence[str], permutations: int, seed: int) -> dict[str, Any]:
    """Pooled scores and the permutation band of UWA."""
    counts = confusion(predictions["label"], predictions["predicted"], classes)
    low, high = label_permutation_band(predictions, classes, draws=permutations, seed=seed)
    return {**{metric: float(value) for metric, value in scores_of(counts).items()}, "low": low, "high": high}


def _as_small(table: pd.DataFrame, parts: Sequence[Part], seed: int) -> list[Part]:
    """The control for ``session+scenario``: the same test parts and as many training utterances of each class, scenarios kept.

    Holding scenarios out also shrinks the training part and turns its class frequencies. Only what falls beyond this
    control is the scenario's doing.
    """
    rng = np.random.default_rng([seed, 17])
    sessions, targets = table["session"].to_numpy(), table["target"].to_numpy()
    control = []
    for part in parts:
        apart = np.setdiff1d(sessions[part.dev].astype(str), sessions[part.train].astype(str))
        held = np.union1d(sessions[part.test].astype(str), apart)
        pool = np.setdiff1d(np.flatnonzero(~np.isin(sessions.astype(str), held)), part.dev)
        chosen = [
            rng.choice(pool[targets[pool] == k], size=count, replace=False)
            for k, count in enumerate(np.bincount(targets[part.train]))
            if count
        ]
        control.append(Part(part.name, np.sort(np.concatenate(chosen)), part.test, part.dev, part.refit))
    return control


def _against_trivial(
    predicted: Sequence[tuple[dict[str, Any], pd.DataFrame]], table: pd.DataFrame, classes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Every other row against the best of the rows that neither hear nor read: difference of pooled UWA, declared test."""
    kind = unit_kind(table)
    counts = {row["slug"]: unit_counts(predictions, table, classes, kind) for row, predictions in predicted}
    trivial = [row for row, _ in predicted if row["slug"] in TRIVIAL]
    if not trivial:
        return {}
    best = max(trivial, key=lambda row: float(scores_of(counts[row["slug"]].pooled)["UWA"]))
    result = {}
    for slug, own in counts.items():
        if slug not in TRIVIAL and own.units == counts[best["slug"]].units:
            test = difference_test(own, counts[best["slug"]])
            result[slug] = {"name": best["name"], "difference": test.interval.estimate, "p": test.p}
    return result


def audit_study(study: "Study", *, features: Pooled | None = None, **options: Any) -> dict[str, Any]:
    """Audits a study with probes on its streams; ``features`` as from ``stream_features``, options as for ``audit_table``."""
    ground = {"dev": asked_rule(study.folds.dev), **options}
    if features is None:
        features = {"mean": {stream: study.pooled(stream, "mean") for stream in study.streams}}
    return audit_table(study.table, study.classes, features, **ground)


def asked_rule(dev: str) -> str:
    """The rule that makes development parts like those of a run: its own, or ``next`` where it is a protocol's own."""
    return dev if dev.startswith("random:") or dev in ("partner", "speaker", "none") else "next"


def audit_run(run_dir: str | Path, **options: Any) -> dict[str, Any]:
    """Audits the corpus of a finished run from the run's own files.

    Words and priors need nothing else; the probes come along where the cache of the run is still there and unchanged.
    """
    run = RunDirectory.open(run_dir)
    table = run.utterances.copy()
    table["target"] = class_positions(table["label"], run.classes)
    table = table.sort_index()
    ground = {"dev": asked_rule(str(run.run.get("dev", "none"))), "refit": bool(run.run.get("refit"))}
    return audit_table(table, run.classes, run_features(run, table), **{**ground, **options})


def run_features(run: RunDirectory, table: pd.DataFrame) -> Pooled:
    """Time means from the run's cache; empty where it is gone or does not hold these utterances any more."""
    from ser_cache import CacheError, open_cache
    from ser_fusion.study.data import pool_entry

    cache = run.run.get("cache", {})
    try:
        opened = open_cache(cache["path"])
        features = {}
        for stream, entry in cache["entries"].items():
            stored = opened.select(stream, entry["encoder"], entry["layer"], entry["dtype"])
            if stored.fingerprint != entry["fingerprint"]:
                return {}
            features[stream] = pool_entry(stored, list(table.index), "mean")
    except (CacheError, KeyError, OSError):
        return {}
    return {"mean": features}


# What pooled UWA looks like when predictions know nothing: the true labels shuffled within folds, many times.
#
# Within folds, because holding scenarios out turns the class frequencies of a fold against its training part: a majority
# predictor then falls below 1/K, and the band moves with it. An utterance has one true label, so all seeds of a fold share
# each shuffling: seeds that guess alike are not averaged into a band that is too narrow.
def label_permutation_band(
    predictions: pd.DataFrame, classes: Sequence[str], *, metric: str = "UWA", draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """The middle 95 % of the pooled score over shufflings of the true labels within folds, shared by the seeds.

    Args:
        predictions: ``id, fold, seed, label, predicted`` of one row.
        classes: Class names in order.
        metric: Which score.
        draws: shufflings.
        seed: Of the shufflings.
    """
    guess, k = class_positions(predictions["predicted"], classes), len(classes)
    folds = [(places, predictions.iloc[places]) for places in predictions.groupby("fold").indices.values()]
    true = [class_positions(part.loc[~part["id"].duplicated(), "label"], classes) for _, part in folds]  # each id once
    counts = np.zeros((draws, k * k))
    for (places, part), cells in zip(folds, _shuffled(tuple(map(tuple, true)), k, draws, seed), strict=True):
        utterance, _ = pd.factorize(part["id"])
        for at in part.groupby("seed").indices.values():
            guessed = cells[:, utterance[at]]
            guessed += guess[places][at]
            counts += np.bincount(guessed.ravel(), minlength=draws * k * k).reshape(draws, k * k)
    scores = scores_of(counts.reshape(draws, k, k))[metric]
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)


@functools.lru_cache(maxsize=1)
def _shuffled(true: tuple[tuple[int, ...], ...], classes: int, draws: int, seed: int) -> list[np.ndarray]:
    """Per fold the cell of each shuffled label ``(draws, n)``, of one confusion matrix for each draw, before the guess.

    All rows of a protocol have the same ones.
    """
    rng, first = np.random.default_rng(seed), (np.arange(draws) * classes * classes)[:, None]
    shuffled = (rng.permuted(np.broadcast_to(np.array(labels), (draws, len(labels))), axis=1) for labels in true)
    return [labels * classes + first for labels in shuffled]
