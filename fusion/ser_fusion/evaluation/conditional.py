"""Tests that take utterances as independent: only on request, and labelled "conditional on these speakers".

They answer whether the two models differ on these very speakers; they say nothing about other speakers. Their
false-positive rate for the question people ask (would it hold for new speakers?) was .07 to .28 in simulation.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

LABEL = "conditional on these speakers"


@dataclass(frozen=True)
class Conditional:
    """One conditional test: its name, p-value, and the counts or draws it rests on."""

    name: str
    p: float
    detail: str
    label: str = LABEL


def ensemble(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """One prediction per (id, fold): the class with the highest posterior averaged over seeds. Columns `label, predicted`."""
    columns = [f"p_{name}" for name in classes]
    grouped = predictions.groupby(["id", "fold"], sort=True)
    means = grouped[columns].mean()
    one_seed = grouped["seed"].transform("size").max() == 1
    label = grouped["label"].first()
    if one_seed:  # keep the row's own decision: ties and random rows
        return pd.DataFrame({"label": label, "predicted": grouped["predicted"].first()})
    names = np.asarray(classes, dtype=object)
    return pd.DataFrame({"label": label, "predicted": names[means.to_numpy().argmax(axis=1)]}, index=label.index)


def mcnemar(a: pd.DataFrame, b: pd.DataFrame, classes: list[str]) -> Conditional:
    """Exact McNemar test on the seed ensembles' right and wrong utterances."""
    from statsmodels.stats.contingency_tables import mcnemar as test

    left, right = ensemble(a, classes), ensemble(b, classes)
    right = right.reindex(left.index)
    ok_a = (left["predicted"] == left["label"]).to_numpy()
    ok_b = (right["predicted"] == right["label"]).to_numpy()
    only_a, only_b = int((ok_a & ~ok_b).sum()), int((~ok_a & ok_b).sum())
    table = [[int((ok_a & ok_b).sum()), only_a], [only_b, int((~ok_a & ~ok_b).sum())]]
    p = float(test(table, exact=True).pvalue) if only_a + only_b else 1.0
    return Conditional("McNemar, exact", p, f"{only_a} utterances only A has right, {only_b} only B")


def utterance_permutation(
    a: pd.DataFrame, b: pd.DataFrame, classes: list[str], draws: int = 10_000, seed: int = 0
) -> Conditional:
    """Swaps the two models' predictions of single utterances and recomputes the pooled UWA (seeds averaged)."""

    def right(frame: pd.DataFrame) -> pd.Series:
        hit = (frame["predicted"].astype(str) == frame["label"].astype(str)).astype(float)
        return hit.groupby([frame["id"], frame["fold"]], sort=True).mean()

    labels = a.groupby(["id", "fold"], sort=True)["label"].first().astype(str)
    share = (right(a) - right(b)).to_numpy() / labels.map(labels.value_counts()).to_numpy() / labels.nunique()
    share = share[share != 0]
    observed, rng, extreme = abs(share.sum()), np.random.default_rng(seed), 0
    for start in range(0, draws, 500):
        signs = 1 - 2 * rng.integers(0, 2, size=(min(500, draws - start), len(share)), dtype=np.int8)
        extreme += int((np.abs(signs.astype(np.float64) @ share) >= observed - 1e-12).sum())
    return Conditional("utterance permutation", (extreme + 1) / (draws + 1), f"{draws:,} draws")
