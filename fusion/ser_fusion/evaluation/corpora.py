"""What corpora do to a score: encoders that have seen a corpus's labels, and models from corpus to corpus."""

import re
from typing import Any

import pandas as pd

from ser_fusion.evaluation.ensembles import ALL_FOLDS
from ser_fusion.evaluation.metrics import unit_counts
from ser_fusion.evaluation.parts import unit_kind
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.evaluation.statistics import score_interval

# Encoders that have seen emotion labels, by what their authors say: on those corpora their features leak the answers.
#
# A name is enough for a warning; weights under another name are not recognised. Add a line with its source to extend it.
# pattern of the encoder's name -> corpora it was tuned on, source
TUNED: dict[str, tuple[tuple[str, ...], str]] = {
    r"emotion2vec[_-]?plus": (
        ("iemocap", "ravdess", "meld", "crema-d", "esd", "msp-podcast"),
        "emotion2vec issues #46 and #77: EmoBox data",
    ),
    r"superb/.*-er$": (("iemocap",), "SUPERB's ER task is IEMOCAP, 4 classes"),
    r"speechbrain/emotion-recognition-.*iemocap": (("iemocap",), "model card"),
    r"speechbrain/emotion-diarization": (("zaion", "iemocap", "ravdess", "jl-corpus", "esd", "emov-db"), "model card"),
    r"ehcalabres/wav2vec2-lg-xlsr": (("ravdess",), "model card"),
    r"audeering/wav2vec2-large-robust-.*msp-dim": (("msp-podcast",), "model card"),
    r"j-hartmann/emotion-english": (("meld",), "model card: MELD is one of its training sets"),
    r"emoberta": (("meld", "iemocap"), "EmoBERTa, arXiv 2108.12009"),
}


def tuned_on(encoder: str, corpus: str) -> str | None:
    """A warning where the encoder is known to have been trained with the emotion labels of this corpus, else None."""
    for pattern, (corpora, source) in TUNED.items():
        if re.search(pattern, encoder, re.IGNORECASE):
            hit = [name for name in corpora if re.search(rf"(^|[^a-z]){re.escape(name)}([^a-z]|$)", corpus.lower())]
            if hit:
                return f"{encoder} was trained with emotion labels of {hit[0].upper()} ({source}): its test scores here are inflated."
    return None


# Source x target: what a model that was trained on some corpora is worth on each corpus, where a run has several.
#
# Any protocol will do: a cell is made of the test utterances of one corpus whose fold trained on these corpora. Intervals are
# Student's t over the target's speakers, as everywhere (`statistics`); a target of one speaker has none.
METRICS = ("UWA", "WF1")
OTHERS, ALL, VOTE = "all others", "all", "vote of all sources"


def sources_of(folds: pd.DataFrame, corpora: pd.Series) -> dict[str, tuple[str, ...]]:
    """Fold name -> the corpora it trained on, sorted.

    Args:
        folds: ``id, fold, part``.
        corpora: Corpus by id.
    """
    train = folds[folds["part"] == "train"]
    named = train.assign(corpus=train["id"].map(corpora)).groupby("fold")["corpus"].unique()
    return {
        str(fold): tuple(sorted(str(name) for name in names if isinstance(name, str))) for fold, names in named.items()
    }


def source_name(sources: tuple[str, ...], target: str, corpora: tuple[str, ...]) -> str:
    """What a set of training corpora is called beside a target."""
    if len(sources) > 1 and set(sources) == set(corpora) - {target}:
        return OTHERS
    return ALL if len(sources) > 1 and set(sources) == set(corpora) else "+".join(sources)


def transfer(run: RunDirectory) -> dict[str, Any] | None:
    """The cells of every row, or None where the run has one corpus.

    Returns:
        ``corpora``, and ``cells``: row (slug), source, target, n (utterances), classes present, unit, units, and per metric
        ``value``, ``low``, ``high`` in [0, 1] (bounds None without an interval).
    """
    utterances = run.utterances
    if "corpus" not in utterances or utterances["corpus"].nunique() < 2:
        return None
    corpora = utterances["corpus"].astype(str)
    targets = tuple(sorted(corpora.unique()))
    sources = sources_of(run.folds, corpora)
    kinds = {target: unit_kind(utterances[corpora == target]) for target in targets}
    cells = []
    for row in run.rows:
        own = run.of_row(row["slug"])
        target = own["id"].map(corpora)
        names = [
            VOTE if fold == ALL_FOLDS else source_name(sources.get(fold, ()), str(aim), targets)
            for fold, aim in zip(own["fold"], target, strict=True)
        ]
        for (source, aim), part in own.groupby([pd.Series(names, index=own.index), target], sort=True):
            cells.append(
                {"row": row["slug"], "source": str(source), "target": str(aim), **_cell(part, run, kinds[str(aim)])}
            )
    return {"corpora": list(targets), "cells": cells}


def _cell(part: pd.DataFrame, run: RunDirectory, kind: str) -> dict[str, Any]:
    counts = unit_counts(part, run.utterances, run.classes, kind)
    cell: dict[str, Any] = {
        "n": round(float(counts.pooled.sum())),
        "classes": int((counts.pooled.sum(axis=1) > 0).sum()),
        "unit": kind,
        "units": len(counts.units),
    }
    for metric in METRICS:
        interval = score_interval(counts.replicates, metric)
        low, high = max(interval.low, 0.0), min(interval.high, 1.0)  # NaN passes through
        cell[metric] = {"value": interval.estimate, "low": low, "high": high}
    return cell
