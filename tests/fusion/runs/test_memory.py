"""A run directory remembers: rows and seeds of earlier commands, what was declared first, and what is not finished."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ser_fusion.errors import RecordBroken, RunUnreadable
from ser_fusion.evaluation.run_directory import RunDirectory
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.memory import claim
from ser_fusion.runs.prepare import prepare, train_all
from ser_fusion.runs.run import remember, run
from ser_predict.models.runs import RunHeads

GOLDEN = Path(__file__).resolve().parents[2] / "golden/runs-v1"
COPY: dict[str, Path] = {}


@pytest.fixture(autouse=True, scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A copy of the golden cache: a run keeps its leak audit with the cache."""
    COPY["cache"] = tmp_path_factory.mktemp("golden") / "cache"
    shutil.copytree(GOLDEN / "cache", COPY["cache"])


def job(out: Path, *fusion: str, **options: Any) -> FuseJob:
    fast = {"epochs": 1, "workers": 0, "audio_layer": 1, "device": "cpu", "stack": "none"}
    return FuseJob(**{"cache": COPY["cache"], "out": out, "fusion": fusion, **fast, **options})


def table(out: Path) -> dict[str, list[int]]:
    """Seeds of every row in the predictions, in the table's order, without the reference rows."""
    directory = RunDirectory.open(out)
    rows = [row["slug"] for row in directory.rows if row["kind"] != "reference"]
    return {slug: sorted(directory.of_row(slug)["seed"].unique().tolist()) for slug in rows}


def read(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / "run.json").read_text())
    return told


def test_rows_and_seeds_of_earlier_commands_stay(tmp_path: Path) -> None:
    out = tmp_path / "r"
    train_all(prepare(job(out, "audio")))
    train_all(prepare(job(out, "concat", part=(1, 3))))  # one of three trainings, as a share of an array
    written = {path: path.stat().st_mtime_ns for path in out.glob("jobs/*/*/done.json")}
    assert len(written) == 4
    outcome = run(job(out, "text", classifier=("lda",), seeds=(1,)))
    assert table(out) == {
        "audio-stats": [0], "text-stats": [1], "lda-audio": [0], "lda-text": [0], "lda-audio+text": [0],
    }  # fmt: skip
    assert "concat-stats with seed 0 (1 of 3 trainings are finished)" in outcome.left_out[0]
    told = read(out)
    assert outcome.left_out[0] in told["notes"] and told["seeds"] == [0, 1]
    assert [one["job"]["fusion"] for one in told["asked"]] == [["audio"], ["concat"], ["text"]]
    assert {row["slug"] for row in outcome.metrics["rows"]} >= {"audio-stats", "text-stats", "lda-text"}
    assert outcome.report is not None and "lda, audio+text" in outcome.report.read_text()
    usable = [row["slug"] for row in RunHeads(out).rows if row["kind"] == "head"]  # by ser predict
    assert usable == ["audio-stats", "text-stats"]
    last = prepare(job(out, "concat"))  # finishes what was left; nothing else is trained
    assert [task.folder for task in last.remaining] == [f"jobs/concat-stats/fold{n}-seed0" for n in (1, 2)]
    train_all(last)
    whole = remember(last)
    assert whole.left_out == () and [row.slug for row in whole.rows] == ["audio-stats", "text-stats", "concat-stats"]
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())


def test_two_commands_at_once_end_in_one_table(tmp_path: Path) -> None:
    out, pids = tmp_path / "r", []
    for fusion in ("audio", "text"):
        if not (pid := os.fork()):
            code = 1
            try:
                run(job(out, fusion))
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]
    assert set(table(out)) == {"audio-stats", "text-stats"} and len(read(out)["asked"]) == 2
    assert {row["slug"] for row in json.loads((out / "metrics.json").read_text())["rows"]} >= set(table(out))


def test_the_run_of_an_older_version_grows_too(tmp_path: Path) -> None:
    """Its ``run.json`` names one job and no declaration; its trainings name no ground."""
    out = tmp_path / "r"
    shutil.copytree(GOLDEN / "as-found", out)
    old = read(out)
    asked = FuseJob.model_validate({**old["job"], "cache": COPY["cache"], "out": out, "fusion": ("audio",)})
    prepared = prepare(asked)
    train_all(prepared)
    whole = remember(prepared)
    assert [row.slug for row in whole.rows] == [
        "cross-concat-as-found",
        "bilinear-concat-as-found",
        "audio-mean-as-found",
    ]
    assert len(whole.tasks) == 9 and whole.left_out == ()
    assert [one["time"] is None for one in read(out)["asked"]] == [True, False]


def start_of(rows: tuple[str, ...], named: str = "cross", pooling: str = "stats") -> Callable[[Path], dict[str, Any]]:
    """``run.json`` of a job with these heads, without opening a cache."""

    def made(out: Path) -> dict[str, Any]:
        one = job(out, *rows, named_head=named, pooling=(pooling,))
        kinds = [
            {"name": r.name, "slug": r.slug, "kind": "head", "fusion": r.fusion, "fraction": 1.0}
            for r in one.rows(("audio", "text"))
        ]
        return {"job": one.model_dump(mode="json"), "rows": kinds, "data_fingerprint": "x", "command": "ser-fuse"}

    return made


def declared(out: Path) -> tuple[str, list[tuple[str, str]]]:
    told = read(out)["declared"]
    return told["named_head"], [(one["a"], one["b"]) for one in told["primary"]]


def test_the_first_declaration_counts(tmp_path: Path) -> None:
    out = tmp_path / "r"
    claim(out, start_of(("audio", "text", "self"), named="self")(out))
    assert declared(out) == ("self", [("self-stats", "audio-stats"), ("self-stats", "text-stats")])
    claim(out, start_of(("audio", "cross"))(out))  # nothing is trained yet: still the first
    assert declared(out) == (
        "cross",
        [("self-stats", "cross-stats"), ("cross-stats", "audio-stats"), ("cross-stats", "text-stats")],
    )
    (out / "jobs/audio-stats/fold0-seed0").mkdir(parents=True)
    (out / "jobs/audio-stats/fold0-seed0/done.json").write_text("{}")
    before, time = declared(out), read(out)["declared"]["time"]
    claim(out, start_of(("audio", "text", "self", "cross"), named="self", pooling="mean")(out))
    assert declared(out) == before and read(out)["declared"]["time"] == time
    assert [one["job"]["named_head"] for one in read(out)["asked"]] == ["self", "cross", "self"]


def test_a_free_comparison_is_filled_by_the_named_head_only(tmp_path: Path) -> None:
    out = tmp_path / "r"
    claim(out, start_of(("audio",))(out))
    (out / "jobs/audio-stats/fold0-seed0").mkdir(parents=True)
    (out / "jobs/audio-stats/fold0-seed0/done.json").write_text("{}")
    claim(out, start_of(("gated",), named="gated")(out))
    assert declared(out) == ("cross", [])
    claim(out, start_of(("cross",), pooling="mean")(out))
    claim(out, start_of(("cross",))(out))
    assert declared(out) == ("cross", [("cross-mean", "audio-stats")])


@pytest.mark.parametrize(
    "change",
    [
        {"asked": 7},
        {"asked": [7]},
        {"asked": [{"time": None, "command": "", "job": 7}]},
        {"declared": []},
        {"declared": {"time": None, "named_head": "x", "primary": [{"a": "../x", "b": "y", "time": None}]}},
        {"rows": [7]},
        {"rows": [{"kind": "head"}]},
        {"job": {"dropout": 7, "refit": 7}},
        {"job": []},
        {"command": 7},
    ],
)
def test_a_hostile_record_is_a_sentence(tmp_path: Path, change: dict[str, Any]) -> None:
    out = tmp_path / "run"
    start = start_of(("audio", "text"), named="text")(out)
    claim(out, start)
    written = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**written, **change}))
    with pytest.raises((RecordBroken, RunUnreadable)):
        claim(out, start)


@pytest.mark.parametrize("text", ['{"a":' * 50_000 + "1" + "}" * 50_000, "[]", "", '{"job": '])
def test_a_record_that_is_none_is_a_sentence(tmp_path: Path, text: str) -> None:
    out = tmp_path / "run"
    claim(out, start_of(("audio", "text"), named="text")(out))
    (out / "run.json").write_text(text)
    with pytest.raises(RecordBroken, match="another --out"):  # and not: delete its folder, which is the whole run
        claim(out, start_of(("audio",), named="audio")(out))
