"""Judges a run directory: everything the report shows, as plain data in ``metrics.json``.

Reads only what ``ser-fuse`` left behind (see ``run_directory``), so old runs can be judged again by a newer version.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_base.files import sweep, write_json
from ser_fusion.errors import RecordMissing
from ser_fusion.evaluation.breakdowns import groupings, merged_scores, seen_text, split_scores
from ser_fusion.evaluation.calibration import calibration
from ser_fusion.evaluation.comparison import (
    ALPHA,
    EXPLORATORY,
    Judged,
    compare_rows,
    correct_families,
    declared_later,
    declared_pairs,
    first_declared,
    fold_sizes,
    holm,
    named_head,
    trained_rows,
)
from ser_fusion.evaluation.corpora import transfer, tuned_on
from ser_fusion.evaluation.kept_scores import KeptScores
from ser_fusion.evaluation.metrics import (
    DEFINITIONS,
    METRICS,
    UnitCounts,
    class_positions,
    confusion,
    scores_of,
    unit_counts,
)
from ser_fusion.evaluation.parts import unit_kind
from ser_fusion.evaluation.records import Audit, Beside, read_record
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.evaluation.statistics import difference_test, equivalence, recall_intervals, score_interval

HARDEST = 25


def evaluate_run(
    run_dir: str | Path, *, progress: Callable[[str], None] | None = None, made_by: object = None
) -> dict[str, Any]:
    """Computes all numbers of a run and writes ``metrics.json``.

    Args:
        run_dir: The run directory.
        progress: Called with the name of each step that may take more than a moment.
        made_by: Code and versions that judge, in a run of one's own: rows are then not scored again that have not changed.

    Returns:
        The content of ``metrics.json``; its keys are described in ``docs/background/statistics.md``.

    Raises:
        NotARun: The folder is not a run directory.
    """
    run = RunDirectory.open(run_dir)
    sweep(run.path, deep=True)
    classes, utterances = run.classes, run.utterances
    kind = unit_kind(utterances)
    corpus, entries = run.run["corpus"], run.run.get("cache", {}).get("entries", {})
    tuned = [tuned_on(str(entry.get("encoder")), str(corpus.get("name"))) for entry in entries.values()]
    crossed = transfer(run)
    seen = seen_text(utterances, run.folds)
    scores = KeptScores(run, made_by) if made_by else None
    rows: list[dict[str, Any]] = []
    judged: dict[str, Judged] = {}
    for row in run.rows:
        slug = row["slug"]
        own = scores.get(slug) if scores else None
        if own is None:
            if progress is not None:
                progress(row["name"])
            own = _scored(run, slug, kind, seen)
            if scores:
                scores.keep(slug, *own)
        rows.append({**row, **own[0]})
        judged[slug] = Judged(str(row["name"]), str(slug), own[1])
    if scores:
        scores.write()
    if progress is not None:
        progress("comparisons")
    probes = own_probes(run)
    for row in rows:
        row["own_probe"] = probes.get(row["slug"])
    sizes, later = fold_sizes(run.folds), declared_later(run.rows, run.run)
    primary = first_declared(run.rows, run.run)
    pairs = [
        *declared_pairs(run.rows, primary=primary),
        *((EXPLORATORY, head, probe) for head, probe in probes.items()),
    ]
    compared = [
        replace(compare_rows(judged[a], judged[b], family=family, sizes=sizes), note=later.get(frozenset((a, b)), ""))
        for family, a, b in pairs
        if _same_utterances(judged[a], judged[b])
    ]
    compared = correct_families(compared)
    best = _best(judged, trained_rows(run.rows))
    metrics = {
        "format": 1,
        "corpus": corpus,
        "protocol": run.run["protocol"],
        "pooled_only": run.pooled_only,
        "classes": classes,
        "streams": list(entries),
        "definitions": DEFINITIONS,
        "unit": _unit(kind, judged),
        "folds": len(sizes),
        "development": _development(run),
        "seeds": run.run.get("seeds", []),
        "stride": run.run.get("stride"),
        "epochs": run.run.get("epochs"),
        "named_head": named_head(run.run),
        "refit": bool(run.run.get("refit", run.run.get("job", {}).get("refit"))),
        "declared": run.run.get("declared"),
        "rows": rows,
        "best": best,
        "comparisons": [comparison.as_dict() for comparison in compared],
        "overlap": _overlap(seen),
        "transfer": crossed,
        "tuned_encoders": [warning for warning in tuned if warning],
        "hardest": _hardest(run),
        "audit": _audit(run.path),
    }
    beside = _beside(run.path)
    clean = finite(metrics if beside is None else {**metrics, "vad": beside})
    write_json(run.path / "metrics.json", clean)
    return clean


def finite(value: Any) -> Any:
    """The same data as JSON can hold it: numpy numbers become Python's, NaN and infinities None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, np.ndarray):
        return finite(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _scored(run: RunDirectory, slug: str, kind: str, seen: pd.Series | None) -> tuple[dict[str, Any], UnitCounts]:
    """Everything about one row by itself, and its counts per speaker."""
    classes, predictions = run.classes, run.of_row(slug)
    counts = unit_counts(predictions, run.utterances, classes, kind)
    summary = summarise(predictions, classes, pooled_only=run.pooled_only)
    for metric in METRICS:
        interval = score_interval(counts.replicates, metric)
        low, high = max(interval.low, 0.0), min(interval.high, 1.0)  # a score cannot leave [0, 1]; NaN passes through
        summary["metrics"][metric] |= {"low": low, "high": high, "error": interval.error}
    for entry, interval in zip(summary["per_class"], recall_intervals(counts.replicates), strict=True):
        entry |= {"recall_low": interval.low, "recall_high": interval.high}
    chance = equivalence(score_interval(counts.replicates, "UWA"), 1 / len(classes))
    groups = groupings(run.utterances, seen, predictions)
    scored = {
        **summary,
        "constant": predictions["predicted"].nunique() == 1,
        "chance": {"value": chance.value, "margin": chance.margin, "p": chance.p, "equivalent": chance.equivalent},
        "splits": {name: split_scores(predictions, values, classes) for name, values in groups.items()},
        "merged": merged_scores(np.asarray(summary["confusion"]), classes),
        "calibration": calibration(predictions, run.temperatures(slug), classes),
    }
    return finite(scored), counts


def _unit(kind: str, judged: dict[str, Judged]) -> dict[str, Any]:
    """What the tests and intervals of a run are over: of the row with the most units."""
    widest = max((row.units for row in judged.values()), key=lambda units: len(units.units), default=None)
    if widest is None:
        return {"kind": kind, "n": 0, "groups": 0, "general": False}
    return {"kind": kind, "n": len(widest.units), "groups": widest.independent, "general": widest.general}


def _development(run: RunDirectory) -> dict[str, int] | None:
    """Utterances in the smallest and in the largest development part; None where there is none."""
    sizes = run.folds[run.folds["part"] == "dev"].groupby("fold").size()
    return {"smallest": int(sizes.min()), "largest": int(sizes.max())} if len(sizes) else None


def _same_utterances(a: Judged, b: Judged) -> bool:
    """Whether two rows were scored on the same utterances (a killed run may lack folds of one)."""
    left, right = a.units, b.units
    return left.units == right.units and bool(np.allclose(left.counts.sum(axis=2), right.counts.sum(axis=2)))


def _best(judged: dict[str, Judged], rows: list[dict[str, Any]]) -> dict[str, str | None]:
    """Per metric the trained row that is significantly better than every other one (declared test, Holm), or None.

    Always None where results are about the trained models only.
    """
    best: dict[str, str | None] = dict.fromkeys(METRICS)
    slugs = [row["slug"] for row in rows]
    if len(slugs) < 2:
        return best
    for metric in METRICS:
        scored = {slug: _pooled(judged[slug], metric) for slug in slugs}
        top = max(slugs, key=lambda slug: scored[slug])
        others = [slug for slug in slugs if slug != top and _same_utterances(judged[top], judged[slug])]
        tests = [difference_test(judged[top].units, judged[slug].units, metric) for slug in others]
        shown = all(test.general for test in tests) and all(p < ALPHA for p in holm([test.p for test in tests]))
        if len(others) == len(slugs) - 1 and shown:
            best[metric] = top
    return best


def _pooled(row: Judged, metric: str) -> float:
    return float(scores_of(row.units.pooled)[metric])


def _overlap(seen: pd.Series | None) -> dict[str, Any] | None:
    """How many test utterances have words that occur, word for word, in their fold's training part."""
    if seen is None or not len(seen):
        return None
    by_fold = seen.groupby(level="fold").mean()
    return {"share": float(seen.mean()), "n": len(seen), "folds": {str(fold): float(v) for fold, v in by_fold.items()}}


def _hardest(run: RunDirectory) -> list[dict[str, Any]]:
    """Utterances whose true class the trained heads believe in least, averaged over heads and seeds."""
    heads = [row["slug"] for row in run.rows if row["kind"] == "head"]
    frame = run.predictions[run.predictions["row"].isin(heads)]
    if frame.empty:
        return []
    classes = run.classes
    columns = [f"p_{name}" for name in classes]
    values = frame[columns].to_numpy(dtype=np.float64)
    truth = values[np.arange(len(frame)), class_positions(frame["label"], classes)]
    wrong = (frame["label"].astype(str) != frame["predicted"].astype(str)).to_numpy()
    judged = frame[["id", "label", "predicted"]].assign(truth=truth, wrong=wrong)
    grouped = judged.groupby("id")
    worst = grouped["truth"].mean().sort_values(kind="stable").head(HARDEST)
    table = run.utterances
    result = []
    for name, belief in worst.items():
        part = judged[judged["id"] == name]
        said = table["text"].get(name) if "text" in table else None
        speaker = table["speaker"].get(name) if "speaker" in table else None
        result.append(
            {
                "id": str(name),
                "speaker": speaker if isinstance(speaker, str) else None,
                "text": said if isinstance(said, str) else None,
                "label": str(part["label"].iloc[0]),
                "guess": str(part["predicted"].mode().iloc[0]),
                "belief": float(belief),
                "wrong": float(part["wrong"].mean()),
            }
        )
    return result


def _beside(folder: Path) -> dict[str, Any] | None:
    """The scores of ratings that were learned beside the classes (``--vad-weight``)."""
    try:
        return read_record(folder / "vad.json", Beside)
    except RecordMissing:
        return None


def _audit(folder: Path) -> dict[str, Any] | None:
    """The leak audit of this run, if one was made."""
    try:
        return read_record(folder / "audit.json", Audit)
    except RecordMissing:
        return None


def per_class(counts: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class of one confusion matrix, with its true and predicted counts."""
    right, true, guessed = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    rows = []
    for k, name in enumerate(classes):
        rows.append(
            {
                "class": name,
                "n": float(true[k]),
                "predicted": float(guessed[k]),
                "precision": float(right[k] / guessed[k]) if guessed[k] else None,
                "recall": float(right[k] / true[k]) if true[k] else None,
                "f1": float(2 * right[k] / (true[k] + guessed[k])) if true[k] else None,
            }
        )
    return rows


def fold_confusions(predictions: pd.DataFrame, classes: Sequence[str]) -> tuple[np.ndarray, list[str], list[int]]:
    """Confusion matrices of one row of the table, ``(folds, seeds, classes, classes)``, with the folds' and seeds' names."""
    folds, seeds = (
        sorted(predictions["fold"].astype(str).unique()),
        sorted(int(s) for s in predictions["seed"].unique()),
    )
    f = pd.Index(folds).get_indexer(pd.Index(predictions["fold"].astype(str)))
    s = pd.Index(seeds).get_indexer(pd.Index(predictions["seed"].astype(int)))
    k = len(classes)
    cell = (f * len(seeds) + s) * k * k + class_positions(predictions["label"], classes) * k
    cell = cell + class_positions(predictions["predicted"], classes)
    counts = np.bincount(cell, minlength=len(folds) * len(seeds) * k * k)
    return counts.astype(np.float64).reshape(len(folds), len(seeds), k, k), folds, seeds


def summarise(predictions: pd.DataFrame, classes: Sequence[str], *, pooled_only: bool = False) -> dict[str, Any]:
    """Headline numbers of one row: seeds are averaged first, for a seed is not a replicate.

    Args:
        predictions: Columns ``id, fold, seed, label, predicted`` of one row, test parts only.
        classes: Class names in order.
        pooled_only: Folds too small or too one-sided for a mean over them (``session+scenario``).

    Returns:
        ``metrics``: per metric ``mean`` and ``std_folds`` (ddof 1) of the fold means, ``std_seeds`` (ddof 1, of the seeds' own
        means over folds) and ``pooled``; ``folds``: per fold the scores averaged over seeds; ``confusion``: pooled counts,
        averaged over seeds; ``per_class``; ``n``, ``seeds``.
    """
    counts, folds, seeds = fold_confusions(predictions, classes)
    ran = counts.sum(axis=(-1, -2)) > 0  # a killed run may lack some (fold, seed)
    weight = ran / np.maximum(ran.sum(axis=1, keepdims=True), 1)
    pooled = (counts * weight[:, :, None, None]).sum(axis=(0, 1))
    scores, whole = scores_of(counts), scores_of(pooled)
    metrics: dict[str, dict[str, float | None]] = {}
    by_fold: list[dict[str, Any]] = [
        {"fold": name, "n": float(counts[i].sum(axis=(-1, -2)).max())} for i, name in enumerate(folds)
    ]
    for metric in METRICS:
        cells = np.where(ran, scores[metric], np.nan)
        means = np.nanmean(cells, axis=1)
        over_seeds = cells.mean(axis=0)
        over_seeds = over_seeds[~np.isnan(over_seeds)]
        for i, value in enumerate(means):
            by_fold[i][metric] = float(value)
        metrics[metric] = {
            "mean": None if pooled_only else float(means.mean()),
            "std_folds": None if pooled_only or len(folds) < 2 else float(means.std(ddof=1)),
            "std_seeds": None if pooled_only or len(over_seeds) < 2 else float(over_seeds.std(ddof=1)),
            "pooled": float(whole[metric]),
        }
    return {
        "metrics": metrics,
        "folds": by_fold,
        "confusion": pooled.tolist(),
        "per_class": per_class(pooled, classes),
        "n": float(pooled.sum()),
        "seeds": seeds,
    }


# Each head's own linear probe: the best probe, on development data, of the streams that the head reads.
def own_probes(run: RunDirectory) -> dict[str, str]:
    """Slug of each head, and of each stacked one, to the slug of its own probe; heads whose streams have no probe are left out.

    Of several probes (mean, mean and deviation, the product) the one with the best UWA on all development parts together counts;
    without development parts the first.
    """
    dev = run.development
    best: dict[frozenset[str], tuple[float, str]] = {}
    for row in run.rows:
        if row["kind"] != "reference" or not row.get("streams"):
            continue
        own = dev[dev["row"] == row["slug"]] if dev is not None else None
        score = 0.0
        if own is not None and len(own):
            score = float(scores_of(confusion(own["label"], own["predicted"], run.classes))["UWA"])
        streams = frozenset(row["streams"])
        if streams not in best or score > best[streams][0]:
            best[streams] = (score, row["slug"])
    heads = [row for row in run.rows if row["kind"] in ("head", "stacked") and row.get("streams")]
    return {row["slug"]: best[key][1] for row in heads if (key := frozenset(row["streams"])) in best}
