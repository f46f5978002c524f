"""The real corpora of ../shared, against their published counts."""

from pathlib import Path

import pytest

from ser_data.corpora import CORPORA
from ser_data.manifest.labels import resolve_scheme
from ser_data.protocols import make_folds, text_overlap
from ser_data.validate import validate

pytestmark = pytest.mark.real


def test_ravdess_from_its_files(shared: Path):
    report = validate("ravdess", shared / "corpora" / "ravdess")
    assert not report.errors and all(got == published for got, published in report.cells.values())
    # the two takes of actor 7 that are one file: found by this check, told, and no reason to refuse the corpus
    assert [f.id for f in report.findings if f.check == "duplicate audio"] == ["03-01-03-01-02-02-07"]
    table = report.manifest.table
    assert len(table) == 1440 and table["speaker"].nunique() == 24
    assert table["duration"].sum() / 60 == pytest.approx(88.8, abs=0.05)
    folds = make_folds(report.manifest, "official")
    assert [len(fold.test) for fold in folds.folds] == [240] * 6 and folds.held_out == ("speaker",)
    speakers = table.set_index("id")["speaker"]
    assert set(speakers[list(folds.folds[1].test)]) == {"04", "10", "12", "14"}
    emobox = make_folds(report.manifest, "emobox")
    assert [fold.test for fold in emobox.folds] == [fold.test for fold in folds.folds]
    assert text_overlap(table, folds)["share"].tolist() == [1.0] * 6  # two sentences: always seen


def test_meld_text(shared: Path):
    report = validate("meld", shared / "corpora" / "meld-text")
    assert not report.errors and all(got == published for got, published in report.cells.values())
    assert report.cells["train, all"] == (9989, 9989) and report.cells["test, fear"] == (50, 50)
    folds = make_folds(report.manifest, "official")
    (fold,) = folds.folds
    assert (len(fold.train), len(fold.dev), len(fold.test)) == (9989, 1109, 2610)
    assert folds.held_out == ("dialogue",) and folds.dev == "official"
    assert resolve_scheme(None, report.manifest).name == "meld-7"


def test_ravdess_x_meld_through_the_csv_path(shared: Path):
    manifest = CORPORA["csv"].read(shared / "corpora" / "ravdess-x-meld" / "manifest.csv")
    assert len(manifest) == 1248 and not manifest.problems
    assert manifest.table["label"].nunique() == 7 and manifest.table["speaker"].nunique() == 24
    folds = make_folds(manifest, "manifest")
    assert len(folds.folds) == 6 and folds.held_out == ("speaker",)
    assert len(make_folds(manifest, "speaker").folds) == 24


def test_congruence_pairs(shared: Path):
    report = validate("csv", shared / "corpora" / "ravdess-x-meld-congruence" / "manifest.csv")
    assert len(report.manifest) == 2496 and not report.errors
    assert {"audio_label", "text_label"} <= set(report.manifest.table.columns)
