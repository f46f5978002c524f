"""metrics.json of a run: right numbers in every part, plain refusals of what is no run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_run import CLASSES, write_run

from ser_fusion.errors import NotARun
from ser_fusion.evaluation.audit import label_permutation_band
from ser_fusion.evaluation.breakdowns import merged_scores
from ser_fusion.evaluation.comparison import ablation_pairs, declared_pairs, primary_pairs
from ser_fusion.evaluation.corpora import tuned_on
from ser_fusion.evaluation.metrics import score_fold, unit_counts
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.evaluation.run_metrics import evaluate_run


@pytest.fixture(scope="module")
def metrics(judged_run: Path) -> dict:
    return json.loads((judged_run / "metrics.json").read_text())


def row_of(metrics: dict, slug: str) -> dict:
    return next(row for row in metrics["rows"] if row["slug"] == slug)


def test_every_row_is_judged_in_the_tables_order(metrics: dict, judged_run: Path):
    run = json.loads((judged_run / "run.json").read_text())
    assert [row["slug"] for row in metrics["rows"]] == [row["slug"] for row in run["rows"]]
    for row in metrics["rows"]:
        uwa = row["metrics"]["UWA"]
        assert uwa["low"] <= uwa["pooled"] <= uwa["high"]


def test_primary_family_has_three_corrected_members(metrics: dict):
    primary = [c for c in metrics["comparisons"] if c["family"] == "primary"]
    assert [(c["slug_a"], c["slug_b"]) for c in primary] == [("self", "cross"), ("cross", "audio"), ("cross", "text")]
    assert all(c["p_holm"] >= c["p"] for c in primary)
    assert all(c["p_holm"] is None for c in metrics["comparisons"] if c["family"] == "exploratory")
    sentence = primary[0]["sentence"]
    assert sentence.startswith("Self-MHA - Cross-MHA = ") and "10 speakers" in sentence and "80 % power" in sentence


def test_splits_add_up(metrics: dict):
    row = row_of(metrics, "cross")
    for name, groups in row["splits"].items():
        assert sum(group["n"] for group in groups) == 250, name
    assert {group["group"] for group in row["splits"]["style"]} == {"scripted", "improvised"}
    assert len(row["splits"]["speaker"]) == 10


def test_split_scores_equal_scores_of_the_part(metrics: dict, judged_run: Path):
    run = RunDirectory.open(judged_run)
    frame = run.of_row("audio")
    women = frame[frame["id"].map(run.utterances["gender"]) == "F"]
    expected = np.mean([score_fold(p["label"], p["predicted"], CLASSES)["UWA"] for _, p in women.groupby("seed")])
    got = next(group for group in row_of(metrics, "audio")["splits"]["gender"] if group["group"] == "F")
    assert got["UWA"] == pytest.approx(expected)


def test_merged_pairs_forgive_only_confusions_inside_the_pair():
    counts = np.zeros((7, 7))
    counts[0, 2] = counts[2, 0] = 10  # angry taken for frustrated and the other way round
    counts[4, 5] = 10
    angry, both = (merged_scores(counts, CLASSES)[i] for i in (0, 2))
    assert angry["WA"] == pytest.approx(20 / 30) and angry["classes"] == 6 and both["classes"] == 5
    assert merged_scores(np.eye(2), ["joy", "fear"]) == []


def test_session_and_scenario_is_pooled_only(tmp_path: Path):
    path = write_run(tmp_path / "run", per_speaker=20, seeds=(0,), protocol="session+scenario", skill={"cross": 1.0})
    got = evaluate_run(path)
    assert got["pooled_only"] and got["rows"][0]["metrics"]["UWA"]["mean"] is None


def test_hardest_utterances_have_the_least_posterior(metrics: dict, judged_run: Path):
    beliefs = [entry["belief"] for entry in metrics["hardest"]]
    assert beliefs == sorted(beliefs) and len(beliefs) == 25
    run = RunDirectory.open(judged_run)
    first = metrics["hardest"][0]
    heads = run.predictions[run.predictions["row"].isin(["audio", "text", "self", "cross", "self-nosp"])]
    mine = heads[heads["id"] == first["id"]]
    assert first["belief"] == pytest.approx(mine[f"p_{first['label']}"].mean(), abs=1e-6)
    assert first["text"] == run.utterances.loc[first["id"], "text"]


def test_metrics_do_not_depend_on_the_order_of_predictions(run_copy: Path, metrics: dict):
    frame = pd.read_parquet(run_copy / "predictions.parquet").sample(frac=1, random_state=3)
    frame.to_parquet(run_copy / "predictions.parquet")
    again = evaluate_run(run_copy)
    for row in metrics["rows"]:
        other = row_of(again, row["slug"])
        assert other["metrics"]["UWA"]["pooled"] == pytest.approx(row["metrics"]["UWA"]["pooled"])
    assert [c["p"] for c in again["comparisons"]] == pytest.approx([c["p"] for c in metrics["comparisons"]])


def test_constant_predictions_are_exactly_chance(run_copy: Path):
    frame = pd.read_parquet(run_copy / "predictions.parquet")
    frame.loc[frame["row"] == "text", "predicted"] = "neutral"
    frame.to_parquet(run_copy / "predictions.parquet")
    row = row_of(evaluate_run(run_copy), "text")
    assert row["constant"] and row["chance"]["equivalent"] and row["metrics"]["UWA"]["pooled"] == pytest.approx(1 / 7)


def test_corpus_without_speakers_falls_back_to_folds(run_copy: Path):
    table = pd.read_parquet(run_copy / "utterances.parquet").assign(speaker=None, session=None, dialogue=None)
    table.to_parquet(run_copy / "utterances.parquet")
    got = evaluate_run(run_copy)
    assert got["unit"] == {"kind": "fold", "n": 5, "groups": 5, "general": True}
    assert "5 folds are too few for a test of 3 comparisons" in got["comparisons"][0]["sentence"]


def test_a_row_with_missing_folds_is_shown_but_not_compared(run_copy: Path):
    frame = pd.read_parquet(run_copy / "predictions.parquet")
    frame = frame[~((frame["row"] == "self") & (frame["fold"] == "Ses05"))]
    frame.to_parquet(run_copy / "predictions.parquet")
    got = evaluate_run(run_copy)
    assert row_of(got, "self")["n"] == 200
    assert not any("self" in (c["slug_a"], c["slug_b"]) for c in got["comparisons"])
    assert got["best"]["UWA"] is None


def test_seeds_share_the_weight_of_one(judged_run: Path):
    run = RunDirectory.open(judged_run)
    counts = unit_counts(run.of_row("cross"), run.utterances, run.classes)
    assert counts.kind == "speaker" and counts.pooled.sum() == pytest.approx(250)


def test_permutation_band_holds_what_knows_nothing(judged_run: Path):
    run = RunDirectory.open(judged_run)
    low, high = label_permutation_band(run.of_row("cross"), run.classes)
    assert low < 1 / 7 < high < score_fold(*(run.of_row("cross")[c] for c in ("label", "predicted")), CLASSES)["UWA"]
    majority = label_permutation_band(run.of_row("majority"), run.classes)
    assert majority[0] == pytest.approx(majority[1]), (
        "shuffling within folds cannot move a row that is constant in each"
    )


@pytest.mark.parametrize("seeds", [1, 3, 10])
def test_seeds_that_agree_do_not_narrow_the_permutation_band(seeds: int):
    """Heads that know nothing lie outside the 95 % band in about 5 % of runs, however many seeds repeat their guesses."""
    classes, studies, outside = list("abcd"), 120, 0
    for study in range(studies):
        rng = np.random.default_rng([study, seeds])
        label, guess = rng.integers(0, 4, size=(2, 80))
        parts = []
        for seed in range(seeds):
            own = np.where(rng.random(80) < 0.8, guess, rng.integers(0, 4, 80))
            order = rng.permutation(80)  # the rows of a seed may come in any order
            part = {"id": np.arange(80)[order], "label": label[order], "predicted": own[order]}
            parts.append(pd.DataFrame(part).assign(fold=np.where(order < 40, "1", "2"), seed=seed))
        frame = pd.concat(parts, ignore_index=True)
        for column in ("label", "predicted"):
            frame[column] = np.array(classes)[frame[column]]
        low, high = label_permutation_band(frame, classes, draws=200)
        outside += not low <= score_fold(frame["label"], frame["predicted"], classes)["UWA"] <= high
    assert outside / studies <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / studies)


def head(slug: str, fusion: str, **more: object) -> dict:
    return {"slug": slug, "name": slug, "kind": "head", "fusion": fusion, **more}


def test_families_follow_the_declared_head():
    rows = [
        head("self", "self"),
        head("self-nosp", "self"),
        head("gated", "gated"),
        head("audio", "audio"),
        head("text", "text"),
    ]
    assert primary_pairs(rows, "gated") == [("gated", "audio"), ("gated", "text")]
    assert primary_pairs(rows, "self-nosp") == [("self-nosp", "audio"), ("self-nosp", "text")]
    assert ablation_pairs(rows) == [("self", "self-nosp")]
    families = declared_pairs(rows, "gated")
    assert len(families) == 10 and len({frozenset(pair[1:]) for pair in families}) == 10
    shares = [*rows, head("self-50", "self", fraction=0.5)]
    assert ("self", "self-50") not in ablation_pairs(shares)


def test_transductive_rows_are_compared_only_among_themselves():
    rows = [head("audio", "audio"), head("cross", "cross"), head("cross-z", "cross", transductive=True)]
    assert ablation_pairs(rows) == [] and primary_pairs(rows) == [("cross", "audio")]
    assert primary_pairs([dict(row, transductive=True) for row in rows]) == [("cross", "audio")]


@pytest.mark.parametrize(
    ("encoder", "corpus", "flagged"),
    [
        ("iic/emotion2vec_plus_large", "iemocap", True),
        ("superb/wav2vec2-base-superb-er", "iemocap", True),
        ("ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition", "ravdess-x-meld", True),
        ("facebook/wav2vec2-base", "iemocap", False),
        ("superb/wav2vec2-base-superb-er", "meld", False),
        ("superb/wav2vec2-base-superb-ks", "iemocap", False),
    ],
)
def test_encoders_tuned_on_the_corpus_are_flagged(encoder: str, corpus: str, flagged: bool):
    assert (tuned_on(encoder, corpus) is not None) is flagged


def test_what_is_no_run_is_refused_in_words(tmp_path: Path, run_copy: Path):
    with pytest.raises(NotARun, match=r"no run\.json"):
        evaluate_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(NotARun, match="cannot be read"):
        evaluate_run(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 9}')
    with pytest.raises(NotARun, match="format 9"):
        evaluate_run(tmp_path)
    pd.read_parquet(run_copy / "predictions.parquet").drop(columns="p_sad").to_parquet(run_copy / "predictions.parquet")
    with pytest.raises(NotARun, match="lacks the columns p_sad"):
        evaluate_run(run_copy)
