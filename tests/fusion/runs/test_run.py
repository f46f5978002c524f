"""Whole runs: the run directory, resuming, refusing, repeating."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ser_cache.items import Failure
from ser_fusion.errors import ClassMissing, RunChanged, RunExists, RunUnreadable
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.planning import fraction_of
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.runs.run import gather, repeat, run
from ser_fusion.study.open import open_study
from ser_fusion.study.usable import NoReference


def job(cache: Path, out: Path, **options: Any) -> FuseJob:
    return FuseJob(**{"cache": cache, "out": out, "fusion": ("concat",), "epochs": 2, "workers": 1, **options})


def posteriors(out: Path) -> pd.DataFrame:
    """All test predictions of all finished jobs."""
    frames = [pd.read_parquet(path) for path in sorted(out.glob("jobs/*/*/test.parquet"))]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def finished(small_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One complete run with report: two rows, two seeds."""
    out = tmp_path_factory.mktemp("run") / "run"
    outcome = run(job(small_cache, out, fusion=("audio", "concat"), seeds=(0, 1)), command="ser-fuse ...")
    assert outcome.remaining == 0 and outcome.report is not None and outcome.report.is_file()
    return out


def test_the_run_directory_is_the_contract(finished: Path, small_cache: Path) -> None:
    told = json.loads((finished / "run.json").read_text())
    assert told["format"] == 1 and told["finished"] and told["stride"] == 1 and told["seeds"] == [0, 1]
    assert told["folds_fingerprint"] == open_study(small_cache).folds.fingerprint
    assert told["counts"]["per_class"] == {"class0": 40, "class1": 40, "class2": 40}
    assert told["corpus"]["synthetic"] and told["cache"]["entries"]["audio"]["frame_rate"] == 50.0
    heads = [row for row in told["rows"] if row["kind"] == "head"]
    assert [row["slug"] for row in heads] == ["audio-stats", "concat-stats"]
    assert heads[1]["parameters"] == (16 * 128 + 128) + (12 * 128 + 128) + (512 * 3 + 3)
    predictions = pd.read_parquet(finished / "predictions.parquet")
    assert list(predictions.columns) == [
        "row",
        "id",
        "fold",
        "seed",
        "label",
        "predicted",
        "p_class0",
        "p_class1",
        "p_class2",
    ]
    ours = predictions[predictions["row"] == "concat-stats"]
    assert len(ours) == 240 and ours.groupby("seed")["id"].nunique().tolist() == [120, 120]
    sums = ours[["p_class0", "p_class1", "p_class2"]].sum(axis=1)
    assert ((sums - 1).abs() < 1e-5).all()
    assert {"random", "majority"} <= set(predictions["row"])
    development = pd.read_parquet(finished / "development.parquet")
    assert len(development[development["row"] == "audio-stats"]) == 240
    folder = finished / "jobs/concat-stats/fold0-seed0"
    assert {path.name for path in folder.iterdir()} == {
        "curve.json", "weights.safetensors", "head.json", "done.json", "test.parquet", "dev.parquet",
    }  # fmt: skip
    for name in ("utterances.parquet", "folds.csv", "excluded.csv", "metrics.json", "report.html"):
        assert (finished / name).is_file(), name
    assert not list(finished.rglob("*.part"))


def test_scores_are_those_of_the_predictions(finished: Path) -> None:
    from sklearn.metrics import balanced_accuracy_score

    metrics = json.loads((finished / "metrics.json").read_text())
    row = next(row for row in metrics["rows"] if row["slug"] == "concat-stats")
    frame = pd.read_parquet(finished / "predictions.parquet").query("row == 'concat-stats'")
    each = [balanced_accuracy_score(part["label"], part["predicted"]) for _, part in frame.groupby(["fold", "seed"])]
    assert row["metrics"]["UWA"]["mean"] == pytest.approx(sum(each) / len(each), abs=1e-9)


def test_finished_jobs_are_not_done_again(small_cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = prepare(job(small_cache, out))
    train_all(first)
    before = posteriors(out)
    times = {path: path.stat().st_mtime_ns for path in out.glob("jobs/*/*/done.json")}
    assert len(times) == 3 and not first.remaining
    victim = out / "jobs/concat-stats/fold1-seed0"
    (victim / "done.json").unlink()
    again = prepare(job(small_cache, out))
    assert [task.folder for task in again.remaining] == ["jobs/concat-stats/fold1-seed0"]
    train_all(again)
    after = {path: path.stat().st_mtime_ns for path in out.glob("jobs/*/*/done.json")}
    assert [path for path in times if times[path] != after[path]] == [victim / "done.json"]
    pd.testing.assert_frame_equal(posteriors(out), before)


def test_a_run_may_grow_but_not_change(small_cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_all(prepare(job(small_cache, out, part=(1, 3))))
    grown = prepare(job(small_cache, out, fusion=("concat", "gated"), seeds=(0, 1)))
    assert sum(task.is_done(out) for task in grown.tasks) == 1
    with pytest.raises(RunExists, match=r"epochs: 2 there, 3 now"):
        prepare(job(small_cache, out, epochs=3))
    with pytest.raises(RunExists, match="protocol"):
        prepare(job(small_cache, out, protocol="speaker"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(RunExists, match="other files"):
        prepare(job(small_cache, tmp_path / "other"))


def test_shares_make_the_whole(small_cache: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    prepared = prepare(job(small_cache, whole))
    train_all(prepared)
    shared = tmp_path / "shared"
    for number in (1, 2):
        last = prepare(job(small_cache, shared, part=(number, 2)))
        train_all(last)
    assert not last.remaining
    pd.testing.assert_frame_equal(posteriors(shared), posteriors(whole))


def test_workers_do_not_change_a_number(small_cache: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        train_all(prepare(job(small_cache, tmp_path / str(workers), fusion=("cross",), epochs=1, workers=workers)))
    pd.testing.assert_frame_equal(posteriors(tmp_path / "1"), posteriors(tmp_path / "2"))


def test_a_run_can_be_repeated_exactly(finished: Path, small_cache: Path, tmp_path: Path) -> None:
    again, like = repeat(finished, out=tmp_path / "again")
    prepared = prepare(again, like=like)
    train_all(prepared)
    pd.testing.assert_frame_equal(posteriors(tmp_path / "again"), posteriors(finished))
    with pytest.raises(RunChanged, match="data fingerprint"):
        prepare(again.model_copy(update={"out": tmp_path / "x"}), like={**like, "data_fingerprint": "0" * 32})
    with pytest.raises(RunUnreadable, match="no run.json"):
        repeat(tmp_path)


def test_every_row_leaves_out_the_same(
    corpus: Callable[..., Any], cache_of: Callable[..., Path], tmp_path: Path
) -> None:
    planted = corpus("both", n=60)
    planted.failures = {"u00007": Failure("empty", "no samples")}
    out = tmp_path / "run"
    prepared = prepare(job(cache_of(planted), out, fusion=("text", "audio"), epochs=1))
    train_all(prepared)
    gather(out, prepared.tasks, [])
    ids = pd.read_parquet(out / "predictions.parquet").groupby("row")["id"].apply(set)
    assert ids["text-stats"] == ids["audio-stats"] and len(ids["text-stats"]) == 59
    assert pd.read_csv(out / "excluded.csv").to_dict("records") == [{"id": "u00007", "reason": "audio: empty"}]


def test_a_training_part_without_a_class_is_refused(
    corpus: Callable[..., Any], cache_of: Callable[..., Path], tmp_path: Path
) -> None:
    planted = corpus("both", n=60)
    planted.labels = ["rare" if n % 6 < 2 and n < 12 else label for n, label in enumerate(planted.labels)]
    with pytest.raises(ClassMissing, match=r"Fold 1 of protocol session has no training example of rare"):
        prepare(job(cache_of(planted), tmp_path / "run"))


def test_fractions_are_nested_and_hold_whole_speakers(small_cache: Path) -> None:
    study = open_study(small_cache)
    rows = study.rows(study.folds.folds[0].train)
    kept = [set(fraction_of(study, rows, share).tolist()) for share in (0.5, 0.9, 1.0)]
    assert kept[0] < kept[1] <= kept[2] == set(rows.tolist()) or kept[0] == kept[1] < kept[2]
    speakers = study.table["speaker"].to_numpy()
    for part in kept:
        chosen = {speakers[row] for row in part}
        assert part == {row for row in kept[2] if speakers[row] in chosen}


def test_transductive_normalisation_is_marked(small_cache: Path, tmp_path: Path) -> None:
    prepared = prepare(job(small_cache, tmp_path / "run", norm="speaker", epochs=1))
    assert all(row["transductive"] and "test speakers included" in row["note"] for row in prepared.start["rows"])
    with pytest.raises(NoReference, match="no class is called neutral"):
        prepare(job(small_cache, tmp_path / "other", norm="speaker-neutral"))  # before anything is trained
    assert not (tmp_path / "other").exists()


def test_the_study_table(small_cache: Path, tmp_path: Path) -> None:
    rows = job(small_cache, tmp_path, table="study", preset=("as-found", "corrected")).rows(("audio", "text"))
    assert [row.name for row in rows][:9] == [
        f"{name} (as-found)"
        for name in (
            "Audio",
            "Text",
            "MDRE",
            "Self-MHA",
            "Cross-MHA",
            "Self-noSP",
            "Self-CLS",
            "Cross-noSP",
            "Cross-CLS",
        )
    ]
    pooled = {row.slug: (row.pooling, row.text_pooling) for row in rows}
    assert pooled["self-mha-as-found"] == ("modality-stats", None) and pooled["self-mha"] == ("stats", None)
    assert pooled["cross-nosp"] == ("mean", None) and pooled["cross-cls"] == ("stats", "cls")
    assert pooled["audio-as-found"] == ("stats", None) and pooled["mdre"] == (None, None)


def test_as_found_pads_and_says_what_it_departs_from(small_cache: Path, tmp_path: Path) -> None:
    prepared = prepare(job(small_cache, tmp_path / "run", table="study", preset=("as-found",), stride=4, epochs=1))
    plan = prepared.tasks[0].plan
    assert plan.pad_to == {"audio": 125} and not plan.normalise and plan.shape.hidden == 0.25
    by_slug = {row["slug"]: row for row in prepared.start["rows"]}
    assert any("not the study's features" in said for said in by_slug["self-mha-as-found"]["departures"])
    assert any("no prosody" in said for said in by_slug["mdre-as-found"]["departures"])


def test_attention_maps_are_kept(small_cache: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    out = tmp_path / "run"
    train_all(prepare(job(small_cache, out, fusion=("cross",), epochs=1, save_attention=2, part=(1, 3))))
    with safe_open(out / "jobs/cross-stats/fold0-seed0/attention.safetensors", "pt") as maps:
        assert sorted(maps.keys()) == [
            f"{n}/head.attend.{pair}" for n in (0, 1) for pair in ("audio<text", "text<audio")
        ]
        one = maps.get_tensor("0/head.attend.text<audio")
        assert one.shape[0] == 4 and (one.float().sum(-1) - 1).abs().max() < 1e-2
        assert set(maps.metadata()) >= {"0", "1"}


def test_names_say_what_a_row_is(small_cache: Path, tmp_path: Path) -> None:
    made = job(
        small_cache, tmp_path, fusion=("audio", "mdre", "self"), pooling=("stats", "modality-stats"), text_pooling="cls",
        train_fraction=(0.5, 1.0),
    ).rows(("audio", "text"))  # fmt: skip
    assert [row.slug for row in made] == [
        "audio-stats-0.5", "mdre-0.5", "self-stats-textcls-0.5", "self-modality-stats-textcls-0.5",
        "audio-stats", "mdre", "self-stats-textcls", "self-modality-stats-textcls",
    ]  # fmt: skip
    assert len({row.name for row in made}) == len(made)
    assert replace(made[0], fraction=1.0).fusion == "audio"
