"""Other pairs of the test utterances, and more text for training."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from ser_data.manifest.table import Manifest
from ser_data.manifest.text import comparison_key
from ser_fusion.errors import ExtraTextUnusable, RunUnreadable
from ser_fusion.frames.feed import Feed
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.planning import fold_parts
from ser_fusion.runs.run import run
from ser_fusion.study.extra_text import read_extra_text
from ser_fusion.study.open import Study, open_study

SCRIPT = Path(__file__).parents[3] / "docs" / "re_pairing.py"
_spec = importlib.util.spec_from_file_location("re_pairing", SCRIPT)
assert _spec is not None and _spec.loader is not None
script = importlib.util.module_from_spec(_spec)
sys.modules["re_pairing"] = script  # dataclasses ask there
_spec.loader.exec_module(script)
command, re_pair = script.command, script.re_pair


@pytest.fixture(scope="module")
def trained(small_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pairs") / "run"
    job = FuseJob(cache=small_cache, out=out, fusion=("audio", "text", "concat"), epochs=3, workers=1, seeds=(0, 1))
    run(job)
    return out


def test_the_given_pairing_scores_as_in_the_run(trained: Path, read_json: Callable[[Path], Any]) -> None:
    found = re_pair(trained, "concat", times=3)
    rows = {row["slug"]: row["metrics"]["UWA"]["mean"] for row in read_json(trained / "metrics.json")["rows"]}
    for name, row in (("concat-stats", "concat-stats"), ("audio", "audio-stats"), ("text", "text-stats")):
        assert found.scores[name][0] == pytest.approx(rows[row], abs=1e-9)
    assert all(len(values) == 4 for values in found.scores.values())


def test_new_pairs_change_what_looks_at_pairs_and_nothing_else(trained: Path) -> None:
    found = re_pair(trained, "concat", times=4, seed=1)
    for stream in ("audio", "text"):  # the same utterances of the same label: UWA cannot move
        assert np.allclose(found.scores[stream], found.scores[stream][0])
    assert len({round(value, 9) for value in found.scores["product"]}) > 1
    assert found.better in ("audio", "text") and found.gains["product"].units == 6
    assert not np.array_equal(re_pair(trained, "concat", times=4, seed=2).scores["product"], found.scores["product"])


def test_the_product_is_that_of_the_stored_posteriors(trained: Path) -> None:
    from ser_fusion.evaluation.run_directory import RunDirectory
    from ser_fusion.evaluation.temperatures import tempered

    predictions = pd.read_parquet(trained / "predictions.parquet")
    names = [name for name in predictions if name.startswith("p_")]
    run = RunDirectory.open(trained)
    study = open_study(FuseJob.model_validate_json(_job(trained)).cache)
    scores = []
    for number, fold in enumerate(study.folds.folds):
        for seed in (0, 1):
            total = -np.log(np.bincount(study.targets[fold_parts(study, number)["train"]], minlength=3))
            for stream in ("audio", "text"):
                own = predictions["row"] == f"{stream}-stats"
                test = predictions[own & (predictions["fold"] == fold.name) & (predictions["seed"] == seed)]
                temperature = run.temperatures(f"{stream}-stats")[fold.name].value
                total = total + np.log(tempered(test[names].to_numpy(), temperature))
            right = total.argmax(1) == [names.index(f"p_{label}") for label in test["label"]]
            scores.append(pd.Series(right).groupby(test["label"].to_numpy()).mean().mean())
    assert re_pair(trained, "concat", times=1).scores["product"][0] == pytest.approx(np.mean(scores), abs=1e-9)


def _job(folder: Path) -> str:
    import json

    return json.dumps(json.loads((folder / "run.json").read_text())["job"])


def test_command(trained: Path) -> None:
    told = CliRunner().invoke(command, [str(trained), "--head", "concat", "--times", "2"])
    assert told.exit_code == 0 and "product" in told.output and "95 % CI" in told.output
    wrong = CliRunner(env={"COLUMNS": "500"}).invoke(command, [str(trained), "--head", "gated"])
    assert wrong.exit_code == 1 and "add --fusion" in wrong.output
    with pytest.raises(RunUnreadable, match="it has no head cross"):
        re_pair(trained)


@pytest.fixture(scope="module")
def lines(small_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A manifest with two thirds of the utterances, which have folds, and a file with the others as extra text."""
    folder = tmp_path_factory.mktemp("extra")
    study = open_study(small_cache)
    table = study.table.drop(columns="target").assign(fold=study.table["session"])
    kept = np.arange(len(table)) // 6 % 3 > 0
    Manifest(table[kept], study.info).write(folder / "kept.parquet")
    table[~kept][["id", "text", "label", "fold"]].to_csv(folder / "more.csv", index=False)
    return folder / "kept.parquet", folder / "more.csv"


def test_extra_text_trains_and_never_tests(
    small_cache: Path, lines: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, more = lines
    seen: set[int] = set()
    original = Feed.batch

    def watch(self: Feed, rows: Any, partners: Any = None) -> Any:
        if partners:
            seen.update(partners["text"].tolist())
            assert (targets[rows] == targets[partners["text"]]).all()
        return original(self, rows, partners)

    study = open_study(small_cache, manifest=manifest, protocol="manifest")
    extra = read_extra_text(more, study)
    targets = np.concatenate([study.targets, extra.targets])
    job = FuseJob(
        cache=small_cache, manifest=manifest, protocol="manifest", out=tmp_path / "run", fusion=("text",), epochs=6,
        extra_text=more, workers=1,
    )  # fmt: skip
    from ser_fusion.runs.prepare import prepare, train_all

    monkeypatch.setattr(Feed, "batch", watch)
    prepared = prepare(job)
    train_all(prepared)
    n = len(study.table)
    free = {row for task in prepared.tasks for row in task.parts["extra"][0].tolist()}
    assert {row for row in seen if row >= n} == free and any(row < n for row in seen)
    for task in prepared.tasks:
        held = {study.table["fold"].iloc[row] for part in ("dev", "test") for row in task.parts[part]}
        own = {extra.folds[row - n] for row in task.parts["extra"][0]}
        assert own and not own & held
    assert any("extra text" in said for said in prepared.start["rows"][0]["departures"])


def test_lines_whose_text_is_tested_are_left_out(small_cache: Path, lines: tuple[Path, Path]) -> None:
    study = open_study(small_cache, manifest=lines[0], protocol="manifest")
    parts, extra = fold_parts(study, 0), read_extra_text(lines[1], study)
    before = extra.rows(study, parts)[0]
    tested = study.table["text"].iloc[parts["test"][0]]
    texts = list(extra.texts)
    texts[before[0] - len(study.table)] = comparison_key(f"{tested.upper()}!")  # the same words to a listener
    assert set(before) - set(replace(extra, texts=tuple(texts)).rows(study, parts)[0]) == {before[0]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,text\nx,y\n", "no column label"),
        ("id,label\nx,class0\n", "no column text"),
        ("id,text,label\nx,y,bored\n", "no line has a label"),
        ("id,text,label\nnobody,y,class0\n", "not in the text entry"),
        (None, "cannot be read"),
    ],
)
def test_extra_text_that_does_not_fit(small_cache: Path, tmp_path: Path, content: str | None, said: str) -> None:
    study: Study = open_study(small_cache)
    if content is not None:
        (tmp_path / "more.csv").write_text(content)
    with pytest.raises(ExtraTextUnusable, match=said):
        read_extra_text(tmp_path / "more.csv", study)


def test_extra_text_has_no_speakers(small_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be used with --norm speaker"):
        FuseJob(cache=small_cache, out=tmp_path, extra_text=tmp_path / "x.csv", norm="speaker")
