"""--norm speaker-neutral: one behaviour for heads and classifiers, and every row says that it read test labels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ser_data.manifest.table import Manifest
from ser_fusion.runs.classifier_rows import fit_classifiers
from ser_fusion.runs.job import NORMS, FuseJob
from ser_fusion.runs.prepare import prepare
from ser_fusion.runs.run import run
from ser_fusion.study.open import open_study
from ser_fusion.study.usable import NoReference


@pytest.fixture(scope="module")
def neutral(
    plant: Callable[..., Any], write_cache: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """90 utterances of 6 speakers, each with some neutral ones."""
    corpus = plant("both", n=90, longest=10, features=(6, 5))
    labels = ["neutral" if number // 6 % 3 == 0 else f"class{number % 2}" for number in range(90)]
    return write_cache(replace(corpus, labels=labels), tmp_path_factory.mktemp("neutral") / "cache")


def job(cache: Path, out: Path, **options: Any) -> FuseJob:
    given = {"fusion": ("late",), "epochs": 1, "workers": 0, "device": "cpu", "norm": "speaker-neutral"}
    return FuseJob(cache=cache, out=out, **{**given, **options})


def test_a_speaker_without_neutral_speech_is_refused_by_heads_and_classifiers(neutral: Path, tmp_path: Path) -> None:
    info, table = open_study(neutral).info, open_study(neutral).table.drop(columns="target")
    table.loc[(table["speaker"] == "s3") & (table["label"] == "neutral"), "label"] = "class0"
    Manifest(table, info).write(tmp_path / "without.parquet")
    study = open_study(neutral, manifest=tmp_path / "without.parquet")
    with pytest.raises(NoReference, match="1 speakers have no neutral utterance: s3"):
        fit_classifiers(study, ["lda"], tmp_path / "out", norm="speaker-neutral")
    for options in ({}, {"fusion": (), "classifier": ("lda",)}):
        with pytest.raises(NoReference, match="1 speakers have no neutral utterance: s3"):
            prepare(job(neutral, tmp_path / "run", manifest=tmp_path / "without.parquet", **options))
        assert not (tmp_path / "run").exists()


def test_every_row_says_that_it_read_test_labels(neutral: Path, tmp_path: Path) -> None:
    asked = job(neutral, tmp_path / "run", classifier=("lda",), lost_streams=True, ensemble=("seeds",), seeds=(0, 1))
    outcome = run(asked)
    rows = [row for row in outcome.metrics["rows"] if row["kind"] != "reference"]
    assert {row["kind"] for row in rows} == {"head", "stacked", "classifier", "lost", "ensemble"}
    assert all(row["transductive"] and "reads test labels" in row["note"] for row in rows)
    assert "which of it is labelled neutral" in (tmp_path / "run" / "report.html").read_text()
    assert all("test labels" not in NORMS[name] for name in ("train", "corpus", "speaker"))
