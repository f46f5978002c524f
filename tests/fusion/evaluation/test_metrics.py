"""Scores against scikit-learn, against closed forms, and the order of averaging."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, precision_recall_fscore_support

from ser_fusion.evaluation.metrics import METRICS, confusion, score_fold, scores_of
from ser_fusion.evaluation.run_metrics import fold_confusions, per_class, summarise

CLASSES = ("ang", "exc", "fru", "hap", "neu", "sad", "sur")
IEMOCAP = np.array([1103, 1041, 1849, 595, 1708, 1084, 107])


def draw(rng: np.random.Generator, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    true = rng.integers(0, k, n)
    guess = np.where(rng.random(n) < 0.5, true, rng.integers(0, k, n))
    return true, guess


@pytest.mark.parametrize("seed", range(5))
def test_all_classes_present_equals_scikit_learn(seed: int):
    rng = np.random.default_rng(seed)
    true, guess = draw(rng, 300, 7)
    names = np.array(CLASSES)
    expected = {
        "WA": accuracy_score(true, guess),
        "UWA": balanced_accuracy_score(true, guess),
        "WF1": f1_score(true, guess, average="weighted"),
        "UWF1": f1_score(true, guess, average="macro"),
    }
    by_names = score_fold(names[true], names[guess], CLASSES)
    stacked = scores_of(confusion(names[true], names[guess], CLASSES))
    for metric in METRICS:
        assert by_names[metric] == pytest.approx(expected[metric], abs=1e-12)
        assert score_fold(true, guess, CLASSES)[metric] == by_names[metric]
        assert float(stacked[metric]) == pytest.approx(expected[metric], abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_absent_classes_leave_the_average_but_predictions_into_them_stay_errors(seed: int):
    rng = np.random.default_rng(seed)
    true, guess = draw(rng, 60, 7)
    true[true >= 5] = 0  # two classes without true examples
    assert (guess >= 5).any()
    got, stacked = score_fold(true, guess, CLASSES), scores_of(confusion(true, guess, CLASSES))
    recalls = [(guess[true == c] == c).mean() for c in range(5)]
    assert got["UWA"] == pytest.approx(np.mean(recalls))
    assert got["UWF1"] == pytest.approx(np.mean(f1_score(true, guess, labels=range(5), average=None)))
    for metric in METRICS:
        assert float(stacked[metric]) == pytest.approx(got[metric], abs=1e-12)


@pytest.mark.parametrize(
    ("predictor", "expected"),
    [
        ("uniform", (0.1429, 0.1429, 0.1551, 0.1307)),
        ("prior", (0.1816, 0.1429, 0.1816, 0.1429)),
        ("majority", (0.2470, 0.1429, 0.0978, 0.0566)),
    ],
)
def test_trivial_predictors_have_their_closed_form_on_iemocap(predictor: str, expected: tuple[float, ...]):
    chance = {"uniform": np.full(7, 1 / 7), "prior": IEMOCAP / IEMOCAP.sum(), "majority": np.eye(7)[IEMOCAP.argmax()]}
    got = scores_of(np.outer(IEMOCAP, chance[predictor]))
    assert [round(float(got[m]), 4) for m in METRICS] == list(expected)


def test_per_class_equals_scikit_learn():
    true, guess = draw(np.random.default_rng(0), 200, 7)
    rows = per_class(confusion(true, guess, CLASSES), CLASSES)
    precision, recall, f1, support = precision_recall_fscore_support(true, guess, labels=range(7))
    for k, row in enumerate(rows):
        assert (row["precision"], row["recall"], row["f1"], row["n"]) == pytest.approx(
            (precision[k], recall[k], f1[k], support[k])
        )


def frame(rng: np.random.Generator, folds: int = 3, seeds: int = 4, n: int = 40) -> pd.DataFrame:
    rows = []
    for fold in range(folds):
        true = rng.integers(0, 7, n)
        true[:7] = np.arange(7)
        for seed in range(seeds):
            guess = np.where(rng.random(n) < 0.3 + 0.1 * fold, true, rng.integers(0, 7, n))
            rows.append(
                pd.DataFrame(
                    {
                        "id": [f"{fold}-{i}" for i in range(n)],
                        "fold": str(fold),
                        "seed": seed,
                        "label": np.array(CLASSES)[true],
                        "predicted": np.array(CLASSES)[guess],
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def test_summary_averages_seeds_before_folds():
    data = frame(np.random.default_rng(3))
    summary = summarise(data, CLASSES)
    cells = {key: score_fold(part["label"], part["predicted"], CLASSES) for key, part in data.groupby(["fold", "seed"])}
    for metric in METRICS:
        table = np.array([[cells[str(f), s][metric] for s in range(4)] for f in range(3)])
        got = summary["metrics"][metric]
        assert got["mean"] == pytest.approx(table.mean())
        assert got["std_folds"] == pytest.approx(table.mean(axis=1).std(ddof=1))
        assert got["std_seeds"] == pytest.approx(table.mean(axis=0).std(ddof=1))
    assert np.sum(summary["confusion"]) == pytest.approx(120)
    one_seed = [score_fold(p["label"], p["predicted"], CLASSES)["UWA"] for _, p in data.groupby("seed")]
    assert summary["metrics"]["UWA"]["pooled"] == pytest.approx(np.mean(one_seed))


def test_summary_does_not_depend_on_row_order_and_survives_a_missing_seed():
    data = frame(np.random.default_rng(4))
    assert summarise(data.sample(frac=1, random_state=0), CLASSES) == summarise(data, CLASSES)
    torn = data[~((data["fold"] == "1") & (data["seed"] == 2))]
    summary = summarise(torn, CLASSES)
    assert np.sum(summary["confusion"]) == pytest.approx(120)
    assert summary["metrics"]["UWA"]["mean"] is not None


def test_pooled_only_gives_no_mean_over_folds():
    got = summarise(frame(np.random.default_rng(5)), CLASSES, pooled_only=True)["metrics"]["UWA"]
    assert got["mean"] is None and got["std_folds"] is None and got["pooled"] > 0


def test_fold_confusions_count_every_prediction_once():
    data = frame(np.random.default_rng(6))
    counts, folds, seeds = fold_confusions(data, CLASSES)
    assert counts.shape == (3, 4, 7, 7) and folds == ["0", "1", "2"] and seeds == [0, 1, 2, 3]
    assert counts.sum() == len(data)
