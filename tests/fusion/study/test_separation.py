"""The guard of every training: who joins, what is read beside the folds, and that no lever gets past it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_data.manifest.text import comparison_key
from ser_fusion.errors import ContextImpossible
from ser_fusion.runs.folder import do_task
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.prepare import Prepared, prepare, train_all
from ser_fusion.runs.task import names_of, read_frames
from ser_fusion.study.open import open_study
from ser_fusion.study.separation import Leak

LABELS = ("neu", "hap", "ang")


@pytest.fixture(scope="module")
def talk(plant: Callable[..., Any], write_cache: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 turns of 10 speakers in 5 sessions and 5 scenarios; every fifth has votes and no majority."""
    corpus = plant("both", n=200, speakers=10, longest=12, features=(6, 5))
    number = np.arange(200)
    named = [LABELS[int(label[-1])] for label in corpus.labels]
    labels = [None if n // 10 % 5 == n % 5 else label for n, label in enumerate(named)]
    columns = {
        "scenario": [f"scene{n}" for n in number // 10 % 5],
        "dialogue": [f"d{n % 10 // 2}-{n // 10}" for n in number],
        "turn": list(number % 2),
        "text": [f"Line {n // 10}, {n % 10 % 3}." for n in number],  # three or four speakers say each
        "votes": [json.dumps({"neu": 1, "hap": 1} if one is None else {one: 2, "ang": 1}) for one in labels],
        "valence": list(np.linspace(1.0, 5.0, 200)),
    }
    return write_cache(replace(corpus, labels=labels, columns=columns), tmp_path_factory.mktemp("talk") / "cache")


def job(cache: Path, out: Path, **options: Any) -> FuseJob:
    given = {"fusion": ("concat",), "epochs": 1, "workers": 0, "device": "cpu", "stride": 4, "targets": "votes"}
    return FuseJob(cache=cache, out=out, **{**given, **options})


def values(prepared: Prepared, rows: np.ndarray, key: str) -> set[str]:
    return set(prepared.job_data.study.table[key].iloc[rows].dropna())


@pytest.mark.parametrize(
    ("protocol", "dev"),
    [
        ("s3prl-er", "next"),
        ("session", "random:0.2"),
        ("speaker", "random:0.2"),
        ("session+scenario", "random:0.2"),
        ("session+scenario", "next"),
        ("session", "next"),
        ("session", "speaker"),
    ],
)
def test_turns_that_join_share_nothing_with_who_is_tested(talk: Path, tmp_path: Path, protocol: str, dev: str) -> None:
    prepared = prepare(job(talk, tmp_path / "run", protocol=protocol, dev=dev))
    held_out, joined = prepared.study.folds.held_out, 0
    for task in prepared.tasks:
        own, more = (task.parts["train"][task.parts["train"] < 160], task.parts["train"][task.parts["train"] >= 160])
        joined += len(more)
        for key in held_out:
            assert not values(prepared, task.parts["train"], key) & values(prepared, task.parts["test"], key)
            if not values(prepared, own, key) & values(prepared, task.parts["dev"], key):
                assert not values(prepared, more, key) & values(prepared, task.parts["dev"], key)
    assert prepared.job_data.scored == 160 and held_out and joined > 5 * len(prepared.tasks) / len(held_out)


def test_a_corpus_that_is_tested_lends_no_turns(talk: Path, tmp_path: Path) -> None:
    from ser_cache import open_cache
    from ser_data.manifest.table import Manifest

    whole = Manifest.from_bytes(open_cache(talk).attachment("manifest.parquet"))
    table = whole.table.assign(corpus=[("a", "b")[int(name[1:]) % 5 > 2] for name in whole.table["id"]])
    Manifest(table, whole.info).write(tmp_path / "two.parquet")
    prepared = prepare(job(talk, tmp_path / "run", protocol="corpus", manifest=tmp_path / "two.parquet"))
    for task in prepared.tasks:
        assert len(values(prepared, task.parts["train"], "corpus")) == 1 and (task.parts["train"] >= 160).any()
        assert not values(prepared, task.parts["train"], "corpus") & values(prepared, task.parts["test"], "corpus")


def test_no_turn_brings_a_tested_text_back(talk: Path, tmp_path: Path) -> None:
    prepared = prepare(job(talk, tmp_path / "run", drop_seen_text=True))
    texts = prepared.job_data.study.table["text"].map(comparison_key)
    plain = prepare(job(talk, tmp_path / "plain"))
    for task, other in zip(prepared.tasks, plain.tasks, strict=True):
        tested = set(texts.iloc[task.parts["test"]])
        assert tested & set(texts.iloc[other.parts["train"]])  # else the test says nothing
        learned = np.concatenate([task.parts["train"], task.parts["dev"]])
        assert not tested & set(texts.iloc[learned]) and (learned >= 160).any()


LEVERS: dict[str, dict[str, Any]] = {
    "plain": {"targets": "majority"},
    "votes": {},
    "votes, two workers": {"workers": 2},
    "votes, refit": {"refit": True},
    "re-pair": {"targets": "majority", "re_pair": True},
    "tune": {"targets": "majority", "tune": 1},
    "tune, votes, vad": {"tune": 1, "vad_weight": 0.5},
    "context": {"targets": "majority", "context": 1},
    "ratings": {"targets": "majority", "task": "vad"},
    "seen text": {"drop_seen_text": True},
}


@pytest.mark.parametrize("lever", LEVERS)
def test_no_lever_gets_past_the_guard(talk: Path, tmp_path: Path, lever: str) -> None:
    """A row of a tested speaker among the rows that a training is given stops it, whatever asked for the training."""
    prepared = prepare(job(talk, tmp_path / "run", **LEVERS[lever]))
    task = prepared.tasks[0]
    tested = task.parts["test"]
    moved = {**task.parts, "train": np.append(task.parts["train"], tested[:1]), "test": tested[1:]}
    wrong = replace(task, parts=moved)
    with pytest.raises(Exception, match="which the folds keep\\s+apart") as caught:
        train_all(replace(prepared, tasks=[wrong]))
    assert isinstance(caught.value, Leak) or "Leak" in str(caught.value)
    assert not list((tmp_path / "run").glob("jobs/*/*/done.json"))
    train_all(replace(prepared, tasks=[task]))  # as it was planned it is fine
    assert list((tmp_path / "run").glob("jobs/*/*/done.json"))


@pytest.mark.parametrize(
    ("part", "other"), [("dev", "'session' with the test part"), ("train", "'id' with the development part")]
)
def test_every_part_is_asserted(talk: Path, tmp_path: Path, part: str, other: str) -> None:
    """The development part trains in a refit, so it is held to the same promise."""
    prepared = prepare(job(talk, tmp_path / "run"))
    task, apart = prepared.tasks[0], prepared.job_data.apart
    lent = task.parts["test"][:1] if part == "dev" else task.parts["dev"][:1]
    moved = {**task.parts, part: np.append(task.parts[part], lent)}
    if part == "dev":
        moved["test"] = task.parts["test"][1:]
    with pytest.raises(Leak, match=other):
        apart.check(moved)
    apart.check(task.parts)


def test_turns_without_a_class_are_held_to_what_separates_the_development_part(talk: Path, tmp_path: Path) -> None:
    prepared = prepare(job(talk, tmp_path / "run"))
    task, study = prepared.tasks[0], prepared.job_data.study
    sessions = study.table["session"].to_numpy()
    more = np.arange(160, 200)
    (lent,) = more[sessions[more] == sessions[task.parts["dev"][0]]][:1]
    with pytest.raises(Leak, match="without a class share a value of 'session' with the development part"):
        prepared.job_data.apart.check({**task.parts, "train": np.append(task.parts["train"], lent)})


def test_what_is_allowed_to_overlap_is_not_asserted(talk: Path, tmp_path: Path) -> None:
    options = {"protocol": "session", "allow_overlap": ("speaker", "session"), "targets": "majority"}
    prepared = prepare(job(talk, tmp_path / "run", **options))
    assert prepared.study.folds.held_out == ()
    task = prepared.tasks[0]
    moved = {
        **task.parts,
        "train": np.append(task.parts["train"], task.parts["test"][0]),
        "test": task.parts["test"][1:],
    }
    prepared.job_data.apart.check(moved)
    with pytest.raises(Leak, match="'id'"):
        prepared.job_data.apart.check({**moved, "test": task.parts["test"]})


def test_given_folds_promise_what_they_hold_out_in_fact(talk: Path, tmp_path: Path) -> None:
    open_study(talk, protocol="session").folds.to_csv(tmp_path / "folds.csv")
    prepared = prepare(job(talk, tmp_path / "run", folds=tmp_path / "folds.csv"))
    assert prepared.study.folds.held_out == ("session", "speaker", "dialogue")
    assert any("not held out: scenario (5 on both sides)" in note for note in prepared.study.notes)
    for task in prepared.tasks:
        assert not values(prepared, task.parts["train"], "session") & values(prepared, task.parts["test"], "session")
        assert (task.parts["train"] >= 160).any()


def test_previous_turns_of_who_is_tested_are_refused(talk: Path, tmp_path: Path) -> None:
    """Turns without a label are in no fold; under `speaker` they may be those of the speaker who is tested."""
    from ser_cache import open_cache
    from ser_data.manifest.table import Manifest

    whole = Manifest.from_bytes(open_cache(talk).attachment("manifest.parquet"))
    table = whole.table.copy()
    speaker = table["speaker"].str[1:].astype(int)
    mixed = table["dialogue"].isin(table["dialogue"].unique()[:4])
    table.loc[mixed & (speaker % 2 == 0), "label"] = None  # in some dialogues one of the two has no label,
    table.loc[~mixed, "dialogue"] = table["id"]  # the others are of one speaker
    Manifest(table, whole.info).write(tmp_path / "mixed.parquet")
    options = {"manifest": tmp_path / "mixed.parquet", "context": 1, "targets": "majority"}
    with pytest.raises(ContextImpossible, match="whose speaker is tested"):
        prepare(job(talk, tmp_path / "run", protocol="speaker", dev="none", **options))
    prepared = prepare(job(talk, tmp_path / "other", protocol="session", **options))
    train_all(replace(prepared, tasks=prepared.tasks[:1]))
    streams = read_frames(prepared.job, prepared.study, names_of(prepared.study, prepared.tasks))
    near = streams["text"].context.previous
    extra = np.flatnonzero((near >= len(prepared.study.table)).any(1))
    test = prepared.tasks[0].parts["test"]
    assert len(np.setdiff1d(extra, test))
    wrong = near.copy()
    wrong[prepared.tasks[0].parts["train"][0]] = near[np.intersect1d(extra, test)[0]]
    with pytest.raises(Leak, match="'session' with the test part"):
        prepared.job_data.apart.check(prepared.tasks[0].parts, [wrong])


def test_extra_text_is_asserted_by_words_and_fold(talk: Path, tmp_path: Path) -> None:
    whole = open_study(talk).table
    more = whole.iloc[::4].drop(columns="fold").assign(label=whole["label"], fold=whole["session"])
    more[["id", "text", "label", "fold"]].to_csv(tmp_path / "more.csv", index=False)
    from ser_data.manifest.table import Manifest

    kept = whole.drop(index=more.index).drop(columns="target").assign(fold=lambda t: t["session"])
    Manifest(kept, open_study(talk).info).write(tmp_path / "kept.parquet")
    options = {"manifest": tmp_path / "kept.parquet", "extra_text": tmp_path / "more.csv", "targets": "majority"}
    prepared = prepare(job(talk, tmp_path / "run", protocol="session", fusion=("text",), **options))
    streams = read_frames(prepared.job, prepared.study, ["text"])
    for task in prepared.tasks:
        every = np.stack([np.arange(len(kept), len(kept) + len(more)), np.zeros(len(more), dtype=np.int64)])
        free = np.isin(every[0], task.parts["extra"][0])
        prepared.job_data.apart.check(task.parts)
        for line in every[0][~free]:
            with pytest.raises(Leak, match="of extra text share a value of '(text|fold)'"):
                prepared.job_data.apart.check({**task.parts, "extra": np.array([[line], [0]])})
        with pytest.raises(Leak):
            leaky = replace(task, parts={**task.parts, "extra": every})
            do_task(leaky, prepared.job_data.data(streams), tmp_path / "x", 0, lambda: None)
