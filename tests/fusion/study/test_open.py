"""A study joins cache, labels and folds; what it leaves out it names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ser_cache import create_cache
from ser_cache.items import Failure
from ser_data.manifest.table import Manifest
from ser_fusion.errors import ManifestMissing, MissingRows, NothingToTrain, StreamMissing
from ser_fusion.study.open import open_study


def test_table_folds_and_streams(small_cache: Path) -> None:
    study = open_study(small_cache)
    assert study.classes == ("class0", "class1", "class2")
    assert list(study.table.index) == sorted(study.table["id"]) and len(study.table) == 120
    assert [study.classes[n] for n in study.targets] == list(study.table["label"])
    assert list(study.streams) == ["audio", "text"]
    assert len(study.folds.folds) == 3 and study.folds.held_out
    assert study.counts == {"class0": 40, "class1": 40, "class2": 40}
    assert study.excluded.empty and not study.failed


def test_failed_utterances_are_left_out_everywhere(corpus: Callable[..., Any], cache_of: Callable[..., Path]) -> None:
    planted = corpus("both", n=60)
    planted.failures = {"u00003": Failure("empty", "no samples"), "u00010": Failure("nan", "")}
    study = open_study(cache_of(planted))
    assert study.failed == 2
    assert dict(study.excluded.itertuples(index=False)) == {"u00003": "audio: empty", "u00010": "audio: nan"}
    used = {name for fold in study.folds.folds for part in (fold.train, fold.dev, fold.test) for name in part}
    assert not used & {"u00003", "u00010"} and len(study.table) == 58


def test_an_utterance_of_which_nothing_is_known_is_an_error(
    corpus: Callable[..., Any], cache_of: Callable[..., Path]
) -> None:
    planted = corpus("both", n=30)
    planted.missing = ["new1", "new2"]
    with pytest.raises(MissingRows, match=r"2 of 32 utterances have no audio .*new1, new2[\s\S]*ser-extract again"):
        open_study(cache_of(planted))


def test_labels_outside_the_scheme_are_listed(small_cache: Path, tmp_path: Path) -> None:
    scheme = tmp_path / "two.toml"
    scheme.write_text('name = "two"\nignore = ["class2"]\n[classes]\nfirst = ["class0"]\nsecond = ["class1"]\n')
    study = open_study(small_cache, labels=str(scheme))
    assert study.classes == ("first", "second") and len(study.table) == 80
    assert set(study.excluded["reason"]) == {"label 'class2' is not in two"} and not study.failed


def test_another_manifest_overrides_labels_and_folds(small_cache: Path, tmp_path: Path) -> None:
    table = open_study(small_cache).table.drop(columns="target")
    table["label"] = ["x" if n % 2 else "y" for n in range(len(table))]
    table["fold"] = [str(n % 4) for n in range(len(table))]
    table.iloc[:100].to_csv(tmp_path / "mine.csv", index=False)
    study = open_study(small_cache, manifest=tmp_path / "mine.csv", protocol="manifest")
    assert study.classes == ("x", "y") and len(study.table) == 100 and len(study.folds.folds) == 4
    table["text"] = "other words"
    table.iloc[:100].to_csv(tmp_path / "mine.csv", index=False)
    changed = open_study(small_cache, manifest=tmp_path / "mine.csv", protocol="manifest")
    assert any("transcripts" in note for note in changed.notes)


def test_folds_from_a_file(small_cache: Path, tmp_path: Path) -> None:
    study = open_study(small_cache)
    study.folds.to_csv(tmp_path / "folds.csv")
    again = open_study(small_cache, folds=tmp_path / "folds.csv")
    assert again.folds.fingerprint == study.folds.fingerprint


def test_the_fingerprint_follows_labels_folds_and_streams(small_cache: Path, tmp_path: Path) -> None:
    base = open_study(small_cache)
    assert base.data_fingerprint == open_study(small_cache).data_fingerprint
    others = [open_study(small_cache, protocol="speaker"), open_study(small_cache, modalities=("audio",))]
    table = base.table.drop(columns="target")
    table.loc[table.index[0], "label"] = "class1" if table["label"].iloc[0] == "class0" else "class0"
    table.to_csv(tmp_path / "m.csv", index=False)
    others.append(open_study(small_cache, manifest=tmp_path / "m.csv"))
    assert len({base.data_fingerprint, *(study.data_fingerprint for study in others)}) == 4


def test_layers_are_chosen_by_number_or_all(corpus: Callable[..., Any], cache_of: Callable[..., Path]) -> None:
    planted = corpus("both", n=30)
    planted.frames = {**planted.frames, ("audio", 4): planted.frames[("audio", 2)]}
    cache = cache_of(planted)
    assert open_study(cache, audio_layer=4).streams["audio"].spec.layer == 4
    assert open_study(cache, layer="last").streams["audio"].spec.layer == 4
    assert [e.spec.layer for e in open_study(cache, layer="all").layers["audio"]] == [2, 4]
    with pytest.raises(Exception, match="L2-float16"):
        open_study(cache)


def test_what_cannot_be_opened_says_why(small_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(StreamMissing, match="video"):
        open_study(small_cache, modalities=("video",))
    create_cache(tmp_path / "bare")
    with pytest.raises(ManifestMissing, match="--manifest FILE"):
        open_study(tmp_path / "bare")
    table = open_study(small_cache).table.drop(columns="target").assign(label=None)
    table.to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(NothingToTrain, match="120 rows, 0 with a label"):
        open_study(small_cache, manifest=tmp_path / "none.csv")


def test_order_of_the_manifest_changes_nothing(small_cache: Path, tmp_path: Path) -> None:
    table = open_study(small_cache).table.drop(columns="target")
    shuffled = table.sample(frac=1, random_state=3)
    Manifest(shuffled, open_study(small_cache).info).write(tmp_path / "shuffled.parquet")
    again = open_study(small_cache, manifest=tmp_path / "shuffled.parquet")
    assert again.data_fingerprint == open_study(small_cache).data_fingerprint
    pd.testing.assert_index_equal(again.table.index, table.index)


def test_blanks_and_names_alike_are_told_with_the_study(small_cache: Path, tmp_path: Path) -> None:
    table = open_study(small_cache).table.drop(columns="target")
    speakers, labels = table["speaker"].nunique(), table["label"].nunique()
    table["label"] = [f"{label} " if n % 2 else label for n, label in enumerate(table["label"])]
    table["speaker"] = [who.upper() if n // 6 % 2 else who for n, who in enumerate(table["speaker"])]
    table.to_csv(tmp_path / "own.csv", index=False)
    study = open_study(small_cache, manifest=tmp_path / "own.csv", protocol="random")
    assert len(study.classes) == labels and study.table["speaker"].nunique() > speakers
    notes = " ".join(study.notes)
    assert "blanks were removed from" in notes and f"{len(table) // 2:,} of label" in notes
    assert "differ only in case, blanks or Unicode form" in notes and "column speaker" in notes
