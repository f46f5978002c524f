"""Votes from a manifest to the training parts: who is counted, who may train where, and who is never scored."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ser_data.manifest.labels import LabelScheme
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.job_data import JobData, job_data_of
from ser_fusion.runs.planning import fold_parts, tasks
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.study.open import open_study
from ser_fusion.training.losses.levers import LeverImpossible
from ser_fusion.training.losses.votes import read_votes

SCHEME = LabelScheme("four", ("ang", "hap"), {"ang": "ang", "hap": "hap", "exc": "hap"}, frozenset({"fru", "xxx"}))


def test_votes_are_counted_as_the_scheme_has_them() -> None:
    rows = [
        ("a", "ang", {"ang": 2, "fru": 1}),  # what the scheme leaves out is not counted
        ("b", "hap", {"hap": 1, "exc": 1, "ang": 2}),
        ("c", "ang", None),  # no votes: its label
        ("d", "hap", {"fru": 3}),  # none for any class: its label
        ("e", "xxx", {"ang": 1, "exc": 1, "fru": 1}),  # no majority: two of three votes count
        ("f", None, {"hap": 2}),
        ("g", "fru", {"fru": 2, "ang": 1}),  # a majority for what is left out is no missing majority
        ("h", "xxx", {"fru": 1, "ang": 1}),  # half of the votes are not enough
    ]
    table = pd.DataFrame(rows, columns=["id", "label", "votes"])
    table["votes"] = [None if v is None else json.dumps(v) for v in table["votes"]]
    votes = read_votes(table, SCHEME, SCHEME.classes, ["a", "b", "c", "d"], np.array([0, 1, 0, 1]))
    np.testing.assert_allclose(votes.own, [[1, 0], [0.5, 0.5], [1, 0], [0, 1]])
    assert votes.more == ("e", "f") and votes.unvoted == 2
    np.testing.assert_allclose(votes.others, [[0.5, 0.5], [0, 1]])


@pytest.fixture
def voted(corpus: Callable[..., Any], cache_of: Callable[..., Path]) -> Path:
    """120 utterances of 6 speakers in 3 sessions; every fifth has no majority."""
    planted = corpus("both", n=120)
    labels = [None if n % 5 == 0 else label for n, label in enumerate(planted.labels)]
    votes = [{"class0": 1, "class1": 1} if label is None else {label: 2, "class2": 1} for label in labels]
    return cache_of(replace(planted, labels=labels, columns={"votes": [json.dumps(v) for v in votes]}))


def job(cache: Path, out: Path, **options: Any) -> FuseJob:
    given = {"cache": cache, "out": out, "fusion": ("concat",), "epochs": 1, "workers": 1, "targets": "votes"}
    return FuseJob(**{**given, **options})


def job_data(cache: Path, **options: Any) -> JobData:
    return job_data_of(job(cache, Path("o")), open_study(cache, **options), labels=None)


def test_turns_without_a_majority_train_only_where_their_speakers_train(voted: Path) -> None:
    given = job_data(voted)
    table = given.study.table
    assert given.scored == 96 and len(table) == 120 and (table["target"].to_numpy()[96:] == -1).all()
    assert given.votes is not None and np.allclose(given.votes.sum(1), 1)
    study = open_study(voted)
    for number in range(3):
        parts = fold_parts(study, number)
        more = given.joining(parts)
        assert len(more) == 8 and (more >= 96).all()
        assert set(table["session"].iloc[more]) == set(table["session"].iloc[parts["train"]])
        few = parts["train"][table["speaker"].iloc[parts["train"]] == table["speaker"].iloc[parts["train"][0]]]
        assert len(given.joining({**parts, "train": few}, 0.5)) == 4
    free = job_data(voted, protocol="random")  # nothing is separated: all may train everywhere
    assert len(free.joining(fold_parts(open_study(voted, protocol="random"), 0))) == 24


def test_they_are_told_and_never_scored(voted: Path, tmp_path: Path) -> None:
    prepared = prepare(job(voted, tmp_path / "run"))
    train_all(prepared)
    started = json.loads((tmp_path / "run" / "run.json").read_text())
    assert started["job"]["targets"] == "votes" and started["counts"]["utterances"] == 96
    assert "24 turns without a majority may train by theirs, and are never scored" in started["notes"][-1]
    assert "targets are the annotators' votes" in started["rows"][0]["departures"][-1]
    scored = pd.concat(pd.read_parquet(path) for path in (tmp_path / "run").glob("jobs/*/*/*.parquet"))
    assert set(scored["id"]) == set(prepared.study.table.index) and scored["label"].notna().all()
    assert len(pd.read_csv(tmp_path / "run" / "excluded.csv")) == 24
    assert all(task.parts["train"].max() >= 96 > task.parts["test"].max() for task in prepared.tasks)


def test_votes_decide_which_jobs_are_the_same(voted: Path) -> None:
    study = open_study(voted)
    asked = job(voted, Path("o"))
    given = job_data_of(asked, study, labels=None)
    assert given.votes is not None
    other = replace(given, votes=given.votes[::-1].copy())
    rows = asked.rows(("audio", "text"))
    marks = [tasks(asked, study, rows, "cpu", one)[0].fingerprint for one in (given, other)]
    assert marks[0] != marks[1]


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        (None, "none of the 120 labelled utterances has votes"),
        ("2 x class0", "cannot be read"),
        ('{"class0": -1}', "not counts"),
    ],
)
def test_no_votes_and_bad_votes_are_told(
    corpus: Callable[..., Any], cache_of: Callable[..., Path], votes: str | None, message: str
) -> None:
    cache = cache_of(replace(corpus("both", n=120), columns={"votes": [votes] * 120}))
    with pytest.raises(LeverImpossible, match=message):
        job_data(cache)
