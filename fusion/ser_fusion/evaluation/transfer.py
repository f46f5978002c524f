"""Source x target: what a model that was trained on some corpora is worth on each corpus, where a run has several.

Any protocol will do: a cell is made of the test utterances of one corpus whose fold trained on these corpora. Intervals are
Student's t over the target's speakers, as everywhere (`intervals`); a target of one speaker has none.
"""

from typing import Any

import pandas as pd

from ser_fusion.evaluation.ensembles import ALL_FOLDS
from ser_fusion.evaluation.intervals import score_interval
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.evaluation.units import unit_counts, unit_kind

METRICS = ("UWA", "WF1")
OTHERS, ALL, VOTE = "all others", "all", "vote of all sources"


def sources_of(folds: pd.DataFrame, corpora: pd.Series) -> dict[str, tuple[str, ...]]:
    """Fold name -> the corpora it trained on, sorted.

    Args:
        folds: `id, fold, part`.
        corpora: corpus by id.
    """
    train = folds[folds["part"] == "train"]
    named = train.assign(corpus=train["id"].map(corpora)).groupby("fold")["corpus"].unique()
    return {
        str(fold): tuple(sorted(str(name) for name in found if isinstance(name, str))) for fold, found in named.items()
    }


def source_name(sources: tuple[str, ...], target: str, known: tuple[str, ...]) -> str:
    """What a set of training corpora is called beside a target."""
    if len(sources) > 1 and set(sources) == set(known) - {target}:
        return OTHERS
    return ALL if len(sources) > 1 and set(sources) == set(known) else "+".join(sources)


def transfer(run: RunDirectory) -> dict[str, Any] | None:
    """The cells of every row, or None where the run has one corpus.

    Returns:
        `corpora`, and `cells`: row (slug), source, target, n (utterances), classes present, unit, units, and per metric
        `value`, `low`, `high` in [0, 1] (bounds None without an interval).
    """
    utterances = run.utterances
    if "corpus" not in utterances or utterances["corpus"].nunique() < 2:
        return None
    corpora = utterances["corpus"].astype(str)
    known = tuple(sorted(corpora.unique()))
    sources = sources_of(run.folds, corpora)
    kinds = {target: unit_kind(utterances[corpora == target]) for target in known}
    cells = []
    for row in run.rows:
        own = run.of_row(row["slug"])
        target = own["id"].map(corpora)
        names = [
            VOTE if fold == ALL_FOLDS else source_name(sources.get(fold, ()), str(aim), known)
            for fold, aim in zip(own["fold"], target, strict=True)
        ]
        for (source, aim), part in own.groupby([pd.Series(names, index=own.index), target], sort=True):
            cells.append(
                {"row": row["slug"], "source": str(source), "target": str(aim), **_cell(part, run, kinds[str(aim)])}
            )
    return {"corpora": list(known), "cells": cells}


def _cell(part: pd.DataFrame, run: RunDirectory, kind: str) -> dict[str, Any]:
    counts = unit_counts(part, run.utterances, run.classes, kind)
    found: dict[str, Any] = {
        "n": round(float(counts.pooled.sum())),
        "classes": int((counts.pooled.sum(axis=1) > 0).sum()),
        "unit": kind,
        "units": len(counts.units),
    }
    for metric in METRICS:
        interval = score_interval(counts.replicates, metric)
        low, high = max(interval.low, 0.0), min(interval.high, 1.0)  # NaN passes through
        found[metric] = {"value": interval.estimate, "low": low, "high": high}
    return found
