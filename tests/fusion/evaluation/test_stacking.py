"""Stacking: the formula, its special cases, what the weights are fitted on, and that an expert without frames has no say."""

import numpy as np
import pandas as pd
import pytest
from fake_run import CLASSES, fake_study

from ser_fusion.evaluation.parts import parts_of
from ser_fusion.evaluation.references import reference_rows
from ser_fusion.evaluation.stacking import BALANCE, SHRINK, combine, fit_weights, stacked_rows
from ser_fusion.evaluation.temperatures import FLOOR


def experts(
    n: int = 400, seed: int = 0, skills: tuple[float, ...] = (2.0, 0.5, 0.0)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    logits = rng.normal(0, 1, (len(skills), n, 3))
    logits[:, np.arange(n), y] += np.array(skills)[:, None]
    logs = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    return logs, np.log(np.full((n, 3), 1 / 3)), y


def test_one_expert_the_product_and_the_head_are_special_cases():
    logs, prior, _ = experts()
    prior = prior + np.log([0.6, 0.9, 1.5])
    assert combine(logs, prior, np.array([0.0, 1.0, 0.0])) == pytest.approx(np.exp(logs[1]))
    product = np.exp(logs.sum(axis=0) - 2 * prior)
    assert combine(logs, prior, np.ones(3)) == pytest.approx(product / product.sum(axis=1, keepdims=True))
    assert combine(np.stack([prior, logs[0]]), prior, np.array([3.0, 1.0])) == pytest.approx(np.exp(logs[0]))


def test_half_of_the_prior_favours_rare_classes_and_none_that_training_lacks():
    prior = np.log([0.9, 0.1 - 1e-6, 1e-6])
    logs = np.log([[[0.7, 0.3, 1e-9]], [[0.8, 0.2, 1e-9]]])
    weights = np.array([0.6, 0.6])
    whole, half, none = (combine(logs, prior, weights, balance)[0] for balance in (0.0, 0.5, 1.0))
    assert whole.argmax() == 0 and half.argmax() == 1
    assert half[1] / half[0] == pytest.approx(whole[1] / whole[0] * (prior_ratio := np.exp(prior[0] - prior[1])) ** 0.5)
    assert none[1] / none[0] == pytest.approx(whole[1] / whole[0] * prior_ratio)
    assert max(one[2] for one in (whole, half, none)) < 1e-4


def test_weights_are_the_minimum_of_the_stated_objective():
    logs, prior, y = experts()
    shares = np.random.default_rng(1).uniform(0.2, 1, len(y))
    weights = fit_weights(logs, prior, y, shares)

    def loss(w: np.ndarray) -> float:
        nll = -np.log(combine(logs, prior, w)[np.arange(len(y)), y])
        return float((shares * nll).sum() / shares.sum() + SHRINK * ((w - 1 / 3) ** 2).sum())

    assert weights[0] > weights[1] > weights[2] > 0
    rng = np.random.default_rng(2)
    assert all(loss(weights) <= loss(np.abs(weights + rng.normal(0, 0.05, 3))) + 1e-7 for _ in range(50))


def heads(study, skill: float = 1.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(4)
    frames: dict[str, list[pd.DataFrame]] = {"test": [], "dev": []}
    for fold in study.folds.folds:
        for part, kept in frames.items():
            ids = list(getattr(fold, part))
            target = study.table.loc[ids, "target"].to_numpy()
            logits = rng.normal(0, 1, (len(ids), len(CLASSES)))
            logits[np.arange(len(ids)), target] += skill
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            frame = pd.DataFrame(p.astype(np.float32), columns=[f"p_{name}" for name in CLASSES])
            guess = np.array(CLASSES)[p.argmax(axis=1)]
            kept.append(
                frame.assign(
                    row="head", id=ids, fold=fold.name, seed=0, label=np.array(CLASSES)[target], predicted=guess
                )
            )
    return tuple(pd.concat(frames[part], ignore_index=True) for part in ("test", "dev"))


def stack(study, test: pd.DataFrame, dev: pd.DataFrame, present: dict[str, np.ndarray] | None = None):
    every = np.ones(len(study.table), dtype=bool)
    row = {"slug": "head", "name": "Head", "kind": "head", "streams": ["audio", "text"]}
    parts = parts_of(study.table.index, study.folds.folds)
    places = (study.table, parts, present or {"audio": every, "text": every}, CLASSES, study.table["speaker"])
    (found,) = stacked_rows([row], test, dev, reference_rows(study, [0]), *places)
    return found


def test_a_stacked_row_is_better_than_its_experts_and_looks_at_no_test_label():
    study = fake_study(per_speaker=60)
    test, dev = heads(study)
    found = stack(study, test, dev)
    assert found.info["of"] == "head" and found.info["kind"] == "stacked"
    assert list(found.test["id"]) == list(test["id"]) and len(found.dev) == len(dev)
    right = [(frame["predicted"] == frame["label"]).mean() for frame in (found.test, test)]
    assert right[0] > right[1] + 0.1, "the audio probe knows what the head does not"
    fold = study.folds.folds[0]
    speakers = set(study.table.loc[list(fold.test), "speaker"])
    wrong = dev.copy()
    tested = wrong["id"].map(study.table["speaker"]).isin(speakers)
    assert tested.any()
    columns = [f"p_{name}" for name in CLASSES]
    wrong.loc[tested, columns] = np.float32(1 / len(CLASSES))
    again = stack(study, test, wrong)
    assert again.info["stack"][fold.name]["weights"] == found.info["stack"][fold.name]["weights"]
    others = [one.name for one in study.folds.folds[1:]]
    assert any(again.info["stack"][name]["weights"] != found.info["stack"][name]["weights"] for name in others)


def test_an_expert_without_frames_has_no_say_and_without_development_parts_weights_are_equal():
    study = fake_study()
    test, dev = heads(study)
    nobody = {name: np.zeros(len(study.table), dtype=bool) for name in ("audio", "text")}
    found = stack(study, test, dev, nobody)
    columns = [f"p_{name}" for name in CLASSES]
    for fold, card in found.info["stack"].items():  # the head alone, at a weight of its own
        logs = np.log(np.maximum(test.loc[test["fold"] == fold, columns].to_numpy(), FLOOR))
        alone = combine(logs[None], np.array(card["log_prior"]), np.array(card["weights"][-1:]), BALANCE)
        assert found.test.loc[test["fold"] == fold, columns].to_numpy() == pytest.approx(alone, abs=1e-5)
    none = stack(study, test, dev.iloc[:0])
    assert none.dev is None
    assert all(np.allclose(one["weights"], 1 / 7) for one in none.info["stack"].values())
