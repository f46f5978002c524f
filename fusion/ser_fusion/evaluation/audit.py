"""Leak audit: the same cheap models under four ways of making folds. What falls when a key is held out was leakage.

TF-IDF on the words, linear probes on the pooled features, and the prior rows, under `random`, `session`, `speaker` and
`session+scenario`. On IEMOCAP (7 classes) TF-IDF falls from WA .506 to .271 once scenarios are held out too, and dropping
as many turns of other scenarios changes nothing; that control (`session, as small`) is made here too. No development part is set aside here, so all protocols train on all
that they may. Costs one linear fit per fold and row; training heads under every protocol is `--audit-heads`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ser_cache.scratch import replacing
from ser_fusion.evaluation.audit_words import CONTROL, STRICT, TRIVIAL, audit_words
from ser_fusion.evaluation.breakdowns import seen_text
from ser_fusion.evaluation.difference_test import difference_test
from ser_fusion.evaluation.metrics import DEFINITIONS, METRICS, class_positions, confusion, scores_of
from ser_fusion.evaluation.permutation import label_permutation_band
from ser_fusion.evaluation.references import Part, fixed_rows, parts_of, predictions_of, stream_features
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.evaluation.units import unit_counts, unit_kind

if TYPE_CHECKING:
    from ser_fusion.study import Study

PROTOCOLS = ("random", "session", "speaker", "session+scenario")
MOST_FOLDS = 60  # MELD's 304 speakers would cost an hour of linear fits
Heads = Mapping[str, Sequence[tuple[dict[str, Any], pd.DataFrame]]]


def audit_table(
    table: pd.DataFrame,
    classes: Sequence[str],
    features: Mapping[str, tuple[str, np.ndarray]],
    *,
    protocols: Sequence[str] = PROTOCOLS,
    heads: Heads | None = None,
    permutations: int = 200,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Audits a corpus.

    Args:
        table: usable utterances with `target`, the manifest's columns, index = id.
        classes: class names in order.
        features: stream name to (modality, time means `(n, d)`); may be empty.
        protocols: names of `ser_data.protocols`; one that the corpus cannot serve is skipped, and said.
        heads: predictions of trained heads by protocol (`--audit-heads`), as (row information, predictions).
        permutations: label shufflings within folds for each band of chance.
        seed: of folds drawn at random and of the shufflings.
        progress: called with "protocol: row" before each step.

    Returns:
        Plain data: `protocols`, `skipped` (protocol to reason), `rows` (name, slug, `scores` by protocol with `low` and
        `high` of the permutation band of UWA), `overlap` (share of test texts seen in training), `words`.
    """
    from ser_data.errors import CorpusError
    from ser_data.protocols import make_folds

    ready = table.assign(id=table.index) if "id" not in table else table
    rows: dict[str, dict[str, Any]] = {}
    used, skipped, overlap = [], {}, {}
    for protocol in protocols:
        try:
            folds = make_folds(ready, protocol, dev="none", seed=seed)
        except CorpusError as error:
            skipped[protocol] = str(error).splitlines()[0]
            continue
        if len(folds.folds) > MOST_FOLDS:
            skipped[protocol] = (
                f"protocol '{protocol}' makes {len(folds.folds)} folds; at most {MOST_FOLDS} are audited"
            )
            continue
        plans = {protocol: parts_of(table.index, folds.folds)}
        if protocol == STRICT:
            plans[CONTROL] = _as_small(table, plans[protocol], seed)
        listed = pd.concat(
            pd.DataFrame({"id": list(getattr(fold, part)), "fold": fold.name, "part": part})
            for fold in folds.folds
            for part in ("train", "test")
        )
        seen = seen_text(table, listed)
        if seen is not None:
            overlap[protocol] = float(seen.mean())
        for name, parts in plans.items():
            used.append(name)
            found = []
            for row, predict in fixed_rows(table, classes, features):
                if progress is not None:
                    progress(f"{name}: {row['name']}")
                predictions = predictions_of(table, classes, parts, predict)
                if predictions is not None:
                    found.append((row, predictions))
            found += (heads or {}).get(name, ())
            for row, predictions in found:
                empty = {"slug": row["slug"], "name": row["name"], "kind": row["kind"], "scores": {}}
                scored = _scored(predictions, classes, permutations, seed)
                rows.setdefault(row["slug"], empty)["scores"][name] = scored
            for slug, against in _against_trivial(found, table, classes).items():
                rows[slug]["scores"][name]["against"] = against
    audit: dict[str, Any] = {
        "format": 1,
        "protocols": used,
        "skipped": skipped,
        "classes": list(classes),
        "n": len(table),
        "permutations": permutations,
        "definitions": {metric: DEFINITIONS[metric] for metric in METRICS},
        "rows": list(rows.values()),
        "overlap": overlap,
    }
    return {**audit, "words": audit_words(audit)}


def _scored(predictions: pd.DataFrame, classes: Sequence[str], permutations: int, seed: int) -> dict[str, Any]:
    """Pooled scores and the permutation band of UWA."""
    counts = confusion(predictions["label"], predictions["predicted"], classes)
    low, high = label_permutation_band(predictions, classes, draws=permutations, seed=seed)
    return {**{metric: float(value) for metric, value in scores_of(counts).items()}, "low": low, "high": high}


def _as_small(table: pd.DataFrame, parts: Sequence[Part], seed: int) -> list[Part]:
    """The control for `session+scenario`: the same test parts and as many training utterances of each class, scenarios kept.

    Holding scenarios out also shrinks the training part and turns its class frequencies. Only what falls beyond this
    control is the scenario's doing.
    """
    rng = np.random.default_rng([seed, 17])
    sessions, targets = table["session"].to_numpy(), table["target"].to_numpy()
    control = []
    for part in parts:
        pool = np.flatnonzero(~np.isin(sessions.astype(str), np.unique(sessions[part.test].astype(str))))
        chosen = [
            rng.choice(pool[targets[pool] == k], size=count, replace=False)
            for k, count in enumerate(np.bincount(targets[part.train]))
            if count
        ]
        control.append(Part(part.name, np.sort(np.concatenate(chosen)), part.test))
    return control


def _against_trivial(
    found: Sequence[tuple[dict[str, Any], pd.DataFrame]], table: pd.DataFrame, classes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Every other row against the best of the rows that neither hear nor read: difference of pooled UWA, declared test."""
    kind = unit_kind(table)
    counts = {row["slug"]: unit_counts(predictions, table, classes, kind) for row, predictions in found}
    trivial = [row for row, _ in found if row["slug"] in TRIVIAL]
    if not trivial:
        return {}
    best = max(trivial, key=lambda row: float(scores_of(counts[row["slug"]].pooled)["UWA"]))
    result = {}
    for slug, own in counts.items():
        if slug not in TRIVIAL and own.units == counts[best["slug"]].units:
            test = difference_test(own, counts[best["slug"]])
            result[slug] = {"name": best["name"], "difference": test.interval.estimate, "p": test.p}
    return result


def audit_study(
    study: "Study", *, features: Mapping[str, tuple[str, np.ndarray]] | None = None, **options: Any
) -> dict[str, Any]:
    """Audits a study with probes on its streams; `features` as from `stream_features`, options as for `audit_table`."""
    return audit_table(study.table, study.classes, stream_features(study) if features is None else features, **options)


def audit_run(run_dir: str | Path, **options: Any) -> dict[str, Any]:
    """Audits the corpus of a finished run from the run's own files.

    Words and priors need nothing else; the probes come along where the cache of the run is still there and unchanged.
    """
    run = RunDirectory.open(run_dir)
    table = run.utterances.copy()
    table["target"] = class_positions(table["label"], run.classes)
    table = table.sort_index()
    return audit_table(table, run.classes, _features(run, table), **options)


def _features(run: RunDirectory, table: pd.DataFrame) -> dict[str, tuple[str, np.ndarray]]:
    """Time means from the run's cache; empty where it is gone or does not hold these utterances any more."""
    from ser_cache import CacheError, open_cache
    from ser_fusion.study import pool_entry

    cache = run.run.get("cache", {})
    try:
        opened = open_cache(cache["path"])
        features = {}
        for stream, entry in cache["entries"].items():
            found = opened.select(stream, entry["encoder"], entry["layer"], entry["dtype"])
            if found.fingerprint != entry["fingerprint"]:
                return {}
            features[stream] = (stream, pool_entry(found, list(table.index), "mean"))
    except (CacheError, KeyError, OSError):
        return {}
    return features


def write_audit(run_dir: str | Path, audit: dict[str, Any]) -> Path:
    """Puts an audit into a run directory, where `evaluate_run` and the report find it."""
    target = Path(run_dir) / "audit.json"
    with replacing(target) as scratch:
        scratch.write_text(json.dumps(audit, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return target
