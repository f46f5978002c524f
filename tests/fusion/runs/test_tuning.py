"""Nested search: reads no utterance of the test fold, goes on after a kill with the same trials, finds what is there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ser_base.errors import PackageMissing, UnknownName
from ser_fusion.frames.feed import Feed
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.job_data import job_data_of
from ser_fusion.runs.planning import tasks
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.runs.run import run
from ser_fusion.runs.task import Task, read_frames
from ser_fusion.runs.tuning.search import HeldOutRead, settle, write_summary
from ser_fusion.runs.tuning.space import DEFAULT, check_space
from ser_fusion.study.open import open_study
from ser_fusion.study.separation import Leak
from ser_fusion.training.plan import TrainingData

pytest.importorskip("optuna", reason="the extra tune is not installed")

SPACE = {
    "lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "pool_dropout": {"low": 0.0, "high": 0.5},
    "width": {"choices": [8, 16]},
}


def job(cache: Path, out: Path, **options: Any) -> FuseJob:
    given: dict[str, Any] = {
        "fusion": ("concat",),
        "epochs": 1,
        "workers": 0,
        "device": "cpu",
        "tune": 4,
        "space": SPACE,
    }
    return FuseJob(cache=cache, out=out, stride=4, **{**given, **options})


def trials_of(out: Path) -> dict[str, Any]:
    """All trials below a run directory, without their clocks."""
    found = {
        str(path.relative_to(out)): json.loads(path.read_text()) for path in sorted(out.glob("tuning/*/*/trial*.json"))
    }
    for trial in found.values():
        trial.pop("seconds")
    return found


@pytest.fixture(scope="module")
def first(small_cache: Path) -> tuple[Task, dict[str, Any], Any]:
    """A task with a search, its frames and the study."""
    asked = job(small_cache, Path("unused"))
    study = open_study(small_cache)
    return (
        tasks(asked, study, asked.rows(tuple(study.streams)), "cpu")[0],
        read_frames(asked, study, ["audio", "text"]),
        study,
    )


def test_no_utterance_of_the_test_fold_is_read(
    first: tuple[Task, dict[str, Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, streams, study = first
    read: set[int] = set()
    batch = Feed.batch

    def recorded(self: Feed, rows: np.ndarray, partners: Any = None) -> Any:
        read.update(rows.tolist())
        return batch(self, rows, partners)

    monkeypatch.setattr(Feed, "batch", recorded)  # a record of its own, beside the one that the search keeps
    settle(task, TrainingData(streams, study.targets), tmp_path / "a", lambda: None)
    test, rest = set(task.parts["test"].tolist()), {*task.parts["train"].tolist(), *task.parts["dev"].tolist()}
    assert read == rest and test and not read & test  # everything else is read, so the record is not just empty
    told = trials_of(tmp_path / "a")
    assert len(told) == 4
    assert all(t["utterances_read"] == len(rest) and t["of_the_test_fold"] == 0 for t in told.values())
    # the same search where tested speech is not a number and tested labels are another: not one digit differs
    poisoned = {}
    for name, stream in streams.items():
        values, means = stream.layers[0].copy(), stream.means.copy()
        for row in test:
            values[stream.offsets[row] : stream.offsets[row + 1]] = np.nan
            means[:, row] = np.nan
        poisoned[name] = replace(stream, layers=(values,), means=means)
    wrong = study.targets
    wrong[sorted(test)] = 0
    settle(task, TrainingData(poisoned, wrong), tmp_path / "b", lambda: None)
    assert trials_of(tmp_path / "b") == told


def test_a_search_that_reads_the_test_fold_is_void(
    first: tuple[Task, dict[str, Any], Any], small_cache: Path, tmp_path: Path
) -> None:
    task, streams, study = first
    assert task.search is not None
    cut = [{**one, "dev": np.append(one["dev"], task.parts["test"][:3])} for one in task.search.inner.folds]
    leaky = replace(task, search=replace(task.search, inner=replace(task.search.inner, folds=tuple(cut))))
    with pytest.raises(HeldOutRead, match="read 3 utterances of the test fold"):
        settle(leaky, TrainingData(streams, study.targets), tmp_path, lambda: None)
    apart = job_data_of(job(small_cache, tmp_path), study, labels=None).apart
    with pytest.raises(Leak, match="of the search share a value of 'id' with the outer test part"):
        settle(leaky, TrainingData(streams, study.targets, apart=apart), tmp_path, lambda: None)
    assert not list(tmp_path.rglob("trial*.json"))


def test_inner_folds_hold_whole_groups_of_the_training_part(
    first: tuple[Task, dict[str, Any], Any], small_cache: Path
) -> None:
    task, _, study = first
    speakers = study.table["speaker"].to_numpy()
    assert task.search is not None and task.search.inner.key == "speaker"  # one session trains, of two speakers
    held = np.concatenate([one["test"] for one in task.search.inner.folds])
    assert sorted(held) == sorted(task.parts["train"]) and len(set(held)) == len(held)
    for one in task.search.inner.folds:
        assert sorted([*one["train"], *one["test"]]) == sorted(task.parts["train"])
        assert not set(speakers[one["test"]]) & set(speakers[one["train"]])
    wider = job(small_cache, Path("unused"), dev="none", inner=2)
    other = open_study(small_cache, dev="none")
    (search,) = {t.search.inner.key for t in tasks(wider, other, wider.rows(tuple(other.streams)), "cpu") if t.search}
    assert search == "session"


@pytest.fixture(scope="module")
def crossed(
    plant: Callable[..., Any], write_cache: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """240 turns of 10 speakers in 5 sessions, who all play 6 scenarios."""
    corpus = plant("both", n=240, speakers=10, longest=10, features=(6, 5))
    scenarios = [f"scene{number // 10 % 6}" for number in range(240)]
    return write_cache(replace(corpus, columns={"scenario": scenarios}), tmp_path_factory.mktemp("crossed") / "cache")


def test_inner_folds_keep_apart_what_the_protocol_keeps_apart(crossed: Path) -> None:
    asked = job(crossed, Path("unused"), protocol="session+scenario")
    study = open_study(crossed, protocol="session+scenario")
    found = tasks(asked, study, asked.rows(tuple(study.streams)), "cpu")
    for task in found:
        assert task.search is not None
        inner = task.search.inner
        assert inner.key == "session" and inner.held_out == ("session", "scenario", "speaker") and not inner.lacking
        assert len(inner.folds) == 3
        for cut in inner.folds:
            assert all(len(part) for part in cut.values()) and not set(task.parts["test"]) & set(
                np.concatenate([*cut.values()])
            )
            learned = np.concatenate([cut["train"], cut["dev"]])
            for key in inner.held_out:
                column = study.table[key].to_numpy()
                assert not set(column[learned]) & set(column[cut["test"]])
            assert set(study.targets[cut["train"]]) == {0, 1, 2}


def test_what_inner_folds_cannot_keep_apart_is_said(crossed: Path, tmp_path: Path) -> None:
    """--dev speaker: the one session that develops trains too, so an inner fold of that session would stop on itself."""
    asked = job(crossed, tmp_path / "out", protocol="session", dev="speaker", tune=1, inner=5)
    prepared = prepare(asked)
    assert all(task.search.inner.lacking for task in prepared.tasks if task.search)
    train_all(prepared)
    write_summary(asked.out, prepared.tasks)
    page = (asked.out / "tuning.md").read_text()
    assert "concat, fold 1: too little would be left to keep apart session" in page


CODE = """
import sys
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.prepare import prepare, train_all
if __name__ == "__main__":
    train_all(prepare(FuseJob.model_validate_json(sys.argv[1])))
"""


@pytest.mark.parametrize("kills", [1, pytest.param(8, marks=pytest.mark.crash)])
def test_a_killed_search_goes_on_with_the_same_trials(small_cache: Path, tmp_path: Path, kills: int) -> None:
    quiet = job(small_cache, tmp_path / "quiet", tune=8)  # TPE draws from the sixth trial on
    train_all(prepare(quiet))
    expected = trials_of(tmp_path / "quiet")
    assert len(expected) == 3 * 8 and len({json.dumps(t["settings"]) for t in expected.values()}) > 3 * 6
    script, out = tmp_path / "fuse.py", tmp_path / "killed"
    script.write_text(CODE)
    for _ in range(kills):
        before = len(trials_of(out))
        process = subprocess.Popen([sys.executable, script, quiet.model_copy(update={"out": out}).model_dump_json()])
        while process.poll() is None and len(list(out.glob("tuning/*/*/trial*.json"))) < min(before + 2, 24):
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert 0 < len(trials_of(out)) < 24 or kills > 1
    (kept,) = list(out.glob("tuning/*/fold0/trial000.json"))
    written = kept.stat().st_mtime_ns
    (out / "tuning/concat-stats/fold1").mkdir(parents=True, exist_ok=True)
    (out / "tuning/concat-stats/fold1/trial000.json").write_text(
        '{"fingerprint": "cut o'
    )  # as a broken disk would leave it
    train_all(prepare(quiet.model_copy(update={"out": out})))
    assert trials_of(out) == expected and kept.stat().st_mtime_ns == written


def test_the_search_finds_the_rate_that_learns_and_the_run_uses_it(small_cache: Path, tmp_path: Path) -> None:
    space = {"lr": {"choices": [1e-7, 1e-2]}}
    asked = job(
        small_cache, tmp_path / "out", tune=6, space=space, epochs=3, lr=1e-7, fusion=("concat", "audio"), seeds=(0, 1)
    )
    outcome = run(asked)
    found = json.loads((tmp_path / "out/tuning.json").read_text())
    assert len(found) == 2 * 3 and {one["trials"] for one in found} == {
        6
    }  # two rows, three folds, one budget; seeds share
    for one in found:
        assert one["own_settings"] == {"lr": 1e-7} and one["chosen"] == {"lr": 1e-2}
        assert one["inner_uwa"] > one["own_inner_uwa"] and one["best_so_far"] == sorted(one["best_so_far"])
        assert one["importance"] == {"lr": 1.0} and one["of_the_test_fold"] == 0
    page = (tmp_path / "out/tuning.md").read_text()
    assert "| concat |" in page and "lr 0.01" in page and "were read in all searches: 0." in page
    done = json.loads((tmp_path / "out/jobs/concat-stats/fold0-seed1/done.json").read_text())
    assert 'tuned: {"lr": 0.01}' in done["notes"]
    row = next(row for row in outcome.metrics["rows"] if row["slug"] == "concat-stats")
    assert "best of 6 trials" in " ".join(row["departures"])


def test_turns_without_a_class_train_in_the_search_and_never_score(small_cache: Path, tmp_path: Path) -> None:
    """With --targets votes: they follow their speakers into the inner folds, and a search with them is finite."""
    from ser_cache import open_cache
    from ser_data.manifest.table import Manifest

    whole = Manifest.from_bytes(open_cache(small_cache).attachment("manifest.parquet"))
    table, nobody = whole.table.copy(), range(0, 120, 5)
    table["votes"] = [json.dumps({label: 3}) for label in table["label"]]
    table.loc[nobody, "votes"] = '{"class0": 1, "class1": 1}'
    table.loc[nobody, "label"] = None
    Manifest(table, whole.info).write(tmp_path / "votes.parquet")
    asked = job(small_cache, tmp_path / "out", manifest=tmp_path / "votes.parquet", targets="votes", tune=2)
    prepared = prepare(asked)
    task, study = prepared.tasks[0], prepared.job_data.study
    assert task.search is not None
    held = np.concatenate([one["test"] for one in task.search.inner.folds])
    assert (study.targets[task.parts["train"]] == -1).any() and sorted(held) == sorted(task.parts["train"])
    speakers = study.table["speaker"].to_numpy()
    for one in task.search.inner.folds:
        assert not set(speakers[one["test"]]) & set(speakers[one["train"]])
    train_all(prepared)
    assert all(0.0 <= score <= 1.0 for trial in trials_of(tmp_path / "out").values() for score in trial["inner_uwa"])


def test_what_a_trial_tries_depends_on_row_fold_and_number(small_cache: Path) -> None:
    from ser_fusion.runs.tuning.search import propose

    asked = job(small_cache, Path("unused"), fusion=("concat", "audio"), sampler="random")
    study = open_study(small_cache)
    made = tasks(asked, study, asked.rows(tuple(study.streams)), "cpu")
    drawn = [json.dumps(propose(task.search, task, number, [])) for task in made for number in (1, 2) if task.search]
    assert len(set(drawn)) == len(made) * 2
    assert drawn == [json.dumps(propose(t.search, t, number, [])) for t in made for number in (1, 2) if t.search]
    one = asked.model_copy(update={"pool_dropout": (0.17,)})
    assert {t.plan.shape.pool_dropout for t in tasks(one, study, one.rows(tuple(study.streams)), "cpu")} == {0.17}
    plain = asked.model_copy(update={"tune": 0, "space": {}})
    marks = {t.fingerprint for t in tasks(plain, study, plain.rows(tuple(study.streams)), "cpu")}
    assert not marks & {t.fingerprint for t in made}


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"lr": {"low": 0.1}}, "give low and high"),
        ({"lr": {"low": 0.1, "high": 0.01}}, "not below high"),
        ({"pool_dropout": {"low": 0.0, "high": 1.5}}, "1.5 is not possible"),
        ({"pool_dropout": {"low": 0.0, "high": 0.5, "log": True}}, "low above 0"),
        ({"width": {"choices": []}}, "a list"),
        ({"width": {"choices": [12.5]}}, "12.5 is not possible"),
        ({"width": [12]}, "give a table"),
        ({"schedule": {"low": 1, "high": 2}}, "give choices"),
        ({"activation": {"choices": ["tanh"]}}, "none, relu, gelu"),
        ({}, "empty"),
    ],
)
def test_a_space_that_is_none_is_refused(space: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_space(space)


def test_what_does_not_go_with_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_cache: Path) -> None:
    assert check_space(DEFAULT) == {name: dict(given) for name, given in DEFAULT.items()}
    with pytest.raises(UnknownName, match="Did you mean 'dropout'"):
        check_space({"dropuot": {"low": 0.0, "high": 0.5}})
    with pytest.raises(ValidationError, match="needs a number of trials"):
        job(tmp_path, tmp_path, tune=0)
    with pytest.raises(ValidationError, match="a search of their own|search of its own"):
        job(tmp_path, tmp_path, pool_dropout=(0.1, 0.2))
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(PackageMissing, match=r"pip install 'ser-fusion\[tune\]'"):
        prepare(job(small_cache, tmp_path / "out"))


def test_the_space_comes_from_a_file(tmp_path: Path, make_command: Callable[..., Any]) -> None:
    (tmp_path / "space.toml").write_text("[lr]\nlow = 1e-4\nhigh = 1e-2\nlog = true\n")
    (tmp_path / "bad.toml").write_text("[lr\n")
    assert "cannot be read as TOML" in make_command("--cache", "x", "--tune", "2", "--space", tmp_path / "bad.toml")
    assert "A search space needs" in make_command("--cache", "x", "--space", tmp_path / "space.toml")
    said = make_command("--cache", tmp_path / "x", "--tune", "2", "--space", tmp_path / "space.toml")
    assert "the directory does not exist" in said


@pytest.fixture
def make_command() -> Callable[..., str]:
    """Runs ser-fuse and gives its output."""
    from click.testing import CliRunner

    from ser_fusion.cli.fuse import command

    return lambda *words: " ".join(
        CliRunner().invoke(command, [str(w) for w in words]).output.replace("│", " ").split()
    )
