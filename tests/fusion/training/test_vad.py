"""Ratings: the coefficient and its loss against loops, a planted world, and whole runs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from pydantic import ValidationError

from ser_fusion.errors import NotARun
from ser_fusion.evaluation.rating_metrics import ccc, ccc_loss, score_ratings, summarise_ratings
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.heads.model import load_model
from ser_fusion.heads.shape import Shape
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.run import run
from ser_fusion.study.open import open_study
from ser_fusion.study.usable import RatingsMissing
from ser_fusion.training.losses.levers import Levers
from ser_fusion.training.plan import Plan, TrainingData
from ser_fusion.training.presets import Training
from ser_fusion.training.train import train


def by_hand(p: list[float], r: list[float]) -> float:
    n = len(p)
    mp, mr = sum(p) / n, sum(r) / n
    shared = sum((a - mp) * (b - mr) for a, b in zip(p, r, strict=True)) / n
    spread = sum((a - mp) ** 2 for a in p) / n + sum((b - mr) ** 2 for b in r) / n
    return 2 * shared / (spread + (mp - mr) ** 2)


def test_ccc_is_lins_and_sees_scale_and_offset() -> None:
    p, r = [1.0, 2.5, 3.0, 4.5, 4.0], [1.5, 2.0, 3.5, 5.0, 3.0]
    assert ccc(np.array(p), np.array(r)) == pytest.approx(by_hand(p, r))
    truth = np.arange(10.0)
    assert ccc(truth, truth) == 1 and ccc(-truth, truth) < 0 and ccc(np.full(10, 4.5), truth) == 0
    assert score_ratings(truth * 2 + 1, truth)["r"] == pytest.approx(1) and ccc(truth * 2 + 1, truth) < 0.8
    assert score_ratings(np.full(10, 4.5), truth) == {"CCC": 0.0, "r": 0.0, "MAE": 2.5}
    assert np.isnan(ccc(truth[:0], truth[:0]))


def test_the_loss_is_one_minus_ccc_and_leaves_gaps_out() -> None:
    generator = torch.Generator().manual_seed(0)
    p, r = torch.randn(9, 3, generator=generator), torch.randn(9, 3, generator=generator)
    r[[0, 4], 1] = torch.nan
    r[1:, 2] = torch.nan  # one rating is none
    known = [n for n in range(9) if n not in (0, 4)]
    expected = 2 - by_hand(p[:, 0].tolist(), r[:, 0].tolist()) - by_hand(p[known, 1].tolist(), r[known, 1].tolist())
    assert ccc_loss(p, r).item() == pytest.approx(expected / 2, rel=1e-5)
    nothing = ccc_loss(p.requires_grad_(), torch.full((9, 3), torch.nan))
    nothing.backward()
    assert nothing.item() == 0


def test_seeds_are_averaged_before_folds() -> None:
    rows = [
        ("a", s, r, r + s * (f == "x")) for f, s in (("x", 0), ("x", 1), ("y", 0), ("y", 1)) for r in (1.0, 2.0, 4.0)
    ]
    folds = [f for f in "xxyy" for _ in range(3)]
    frame = pd.DataFrame(rows, columns=["id", "seed", "r0", "p0"]).assign(fold=folds)
    found = summarise_ratings(frame, ("valence",))
    assert found["folds"]["x"]["valence"]["MAE"] == 0.5 and found["folds"]["y"]["valence"]["MAE"] == 0
    assert found["valence"]["MAE"] == {"mean": 0.25, "std_folds": pytest.approx(0.5 / 2**0.5)}
    assert found["mean"] == found["valence"]


RATED = np.array([[1.0, 5.0], [2.5, 2.0], [4.0, 3.0]])  # valence, arousal of each class


def rated(planted: Any, noise: float = 0.3) -> tuple[Any, np.ndarray]:
    """Ratings that follow the class, with noise; no dominance."""
    targets = np.array([int(label[-1]) for label in planted.labels])
    ratings = RATED[targets] + noise * np.random.default_rng(4).normal(size=(len(targets), 2))
    return replace(planted, columns={"valence": ratings[:, 0], "arousal": ratings[:, 1]}), ratings.astype(np.float32)


@pytest.mark.parametrize("fusion", ["concat", "late", "late-calibrated"])
def test_planted_ratings_are_found_alone_and_beside_the_classes(
    fusion: str, plant: Callable[..., Any], frames_of: Callable[..., Any]
) -> None:
    planted, ratings = rated(plant("both", n=700, strength=1.0, longest=9))
    targets = np.array([int(label[-1]) for label in planted.labels])
    rows = np.arange(700)
    plan = Plan(
        fusion=fusion, streams=("audio", "text"), shape=Shape(width=16, frame_dropout=0.1, pool_dropout=0.1), training=Training(lr=4e-3, patience=50),
        dropouts=(), normalise=True, pad_to={}, classes=3, epochs=8, select="uwa", class_weights="none", seed=(0, 0),
        levers=Levers(vad_weight=0.5),
    )  # fmt: skip
    parts = {"train": rows[:300], "dev": rows[300:400], "test": rows[400:]}
    both = train(plan, TrainingData(frames_of(planted), targets, ratings=ratings), parts)
    assert (both.test.argmax(1) == targets[400:]).mean() > 0.8 and "dev_uwa" in both.curve[0]
    alone = replace(plan, classes=1, levers=Levers(task="vad"))
    only = train(alone, TrainingData(frames_of(planted), np.zeros(700, dtype=np.int64), ratings=ratings), parts)
    assert both.ratings is not None and "dev_ccc" in only.curve[0]
    for found in (both.ratings, only.test):
        assert all(ccc(found[:, d], ratings[400:, d]) > 0.7 for d in range(2))  # 0.3 of noise leave 0.95 at best
    sham = train(
        alone,
        TrainingData(
            frames_of(planted), np.zeros(700, dtype=np.int64), ratings=ratings[np.r_[150:300, 0:150, 300:700]]
        ),
        parts,
    )
    assert abs(ccc(sham.test[:, 0], ratings[400:, 0])) < 0.2  # ratings of other utterances teach nothing


def job(cache: Path, out: Path, **options: Any) -> FuseJob:
    return FuseJob(**{"cache": cache, "out": out, "fusion": ("concat",), "epochs": 3, "workers": 1, **options})


@pytest.fixture
def cache(corpus: Callable[..., Any], cache_of: Callable[..., Path]) -> Path:
    """120 utterances with valence and arousal; every sixth has no label, the first no rating."""
    planted, _ = rated(corpus("both", n=120))
    columns = {name: [None if n == 0 else v for n, v in enumerate(values)] for name, values in planted.columns.items()}
    labels = [None if n % 6 == 1 else label for n, label in enumerate(planted.labels)]
    return cache_of(replace(planted, labels=labels, columns=columns))


def test_a_run_of_ratings(cache: Path, tmp_path: Path) -> None:
    from ser_fusion.cli.fuse import command

    out = tmp_path / "run"
    options = ["--cache", str(cache), "--out", str(out), "--fusion", "concat", "--epochs", "3", "--workers", "1"]
    done = CliRunner().invoke(command, [*options, "--task", "vad"])
    assert done.exit_code == 0, done.output
    assert "CCC, larger is better" in done.output and "Training mean" in done.output and "vad.md" in done.output
    told = json.loads((out / "run.json").read_text())
    assert (
        told["finished"] and told["task"] == "vad" and told["counts"]["utterances"] == 119
    )  # labels are not asked for
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["dimensions"] == ["valence", "arousal"]
    names = [row["slug"] for row in metrics["rows"]]
    assert names == ["concat-stats", "mean", "ridge-audio", "ridge-text", "ridge-concatenation"]
    by_slug = {row["slug"]: row["scores"] for row in metrics["rows"]}
    assert by_slug["mean"]["valence"]["CCC"]["mean"] == pytest.approx(0, abs=1e-6)
    assert by_slug["ridge-concatenation"]["mean"]["CCC"]["mean"] > 0.5
    frame = pd.read_parquet(out / "predictions.parquet").query("row == 'ridge-audio'")
    each = [by_hand(part["p0"].tolist(), part["r0"].tolist()) for _, part in frame.groupby("fold")]
    assert by_slug["ridge-audio"]["valence"]["CCC"]["mean"] == pytest.approx(np.mean(each), abs=1e-6)
    assert set(pd.read_csv(out / "excluded.csv")["reason"]) == {"no ratings"}
    page = (out / "vad.md").read_text()
    assert "## MAE, smaller is better" in page and "| Ridge (audio) |" in page
    assert load_model(out / "jobs/concat-stats/fold0-seed0").raters is not None
    with pytest.raises(NotARun, match="it predicts ratings, not classes"):
        RunDirectory.open(out)
    again = CliRunner().invoke(command, [*options, "--task", "vad"])
    assert again.exit_code == 0 and json.loads((out / "metrics.json").read_text()) == metrics


def test_ratings_beside_classes(cache: Path, tmp_path: Path) -> None:
    outcome = run(job(cache, tmp_path / "run", vad_weight=0.5))
    assert outcome.metrics["vad"]["dimensions"] == ["valence", "arousal"]
    row = next(row for row in outcome.metrics["rows"] if row["slug"] == "concat-stats")
    assert row["metrics"]["UWA"]["mean"] > 1 / 3  # the classes' own table is as ever
    assert outcome.report is not None and outcome.report.name == "report.html" and (tmp_path / "run/vad.md").is_file()


def test_a_corpus_without_ratings_is_told(small_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(RatingsMissing, match=r"--task vad is not possible: none of the 120 utterances of planted"):
        open_study(small_cache, task="vad")
    with pytest.raises(RatingsMissing, match="--vad-weight"):
        run(job(small_cache, tmp_path / "run", vad_weight=1.0))


@pytest.mark.parametrize(
    ("options", "name"),
    [({"loss": "focal"}, "--loss"), ({"class_weights": "balanced"}, "--class-weights"), ({"vad_weight": 1.0}, "--vad-weight"),
     ({"classifier": ("svm",)}, "--classifier"), ({"labels": "own"}, "--labels")],
)  # fmt: skip
def test_what_is_about_classes_is_refused(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} is for classes"):
        job(Path("c"), Path("o"), task="vad", **options)
