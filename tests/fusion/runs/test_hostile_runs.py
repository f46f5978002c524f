"""Run directories and exports from anybody: one sentence each, never a traceback, never more memory than the files have."""

import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_cache import CacheError
from ser_fusion.errors import FusionError, RecordBroken
from ser_fusion.evaluation.run_directory import RunDirectory, find_runs
from ser_fusion.runs.run import repeat
from ser_predict.errors import PredictError
from ser_predict.models.card import corpus_title, features, held_out
from ser_predict.models.hub import open_heads
from ser_predict.recordings.streams import specs_of

GOLDEN = Path(__file__).resolve().parents[2] / "golden/runs-v1"
JOB = "jobs/mdre/fold0-seed0"
RECORDS = ("run.json", "audit.json", "metrics.json", f"{JOB}/done.json", f"{JOB}/head.json")
VALUES: list[Any] = [
    None, True, -1, 0, 7, 10**30, 1e308, float("nan"), "", "x", "../../x", "a\\b", [], [None], [[]], ["x"], {}, {"x": None},
    {"x": 1 << 40}, [1 << 40],
]  # fmt: skip
JUDGED = ("format", "comparisons")
"""Of metrics.json; what is wrong in it makes it anew, which takes long."""
Place = tuple[str | int, ...]


def use(folder: Path) -> None:
    """Everything that a run is opened for, but training and encoding."""
    heads = open_heads(folder)
    corpus_title(heads.facts), features(heads.facts), held_out(heads.facts)
    heads.durations, heads.best(("audio", "text")), specs_of(heads.facts, folder)
    for row in heads.rows:
        heads.open(row)
        heads.scores(str(row["slug"]))
    if (folder / "run.json").exists():  # not an export
        run = RunDirectory.open(folder)
        for read in (RunDirectory.rows, RunDirectory.utterances, RunDirectory.folds, RunDirectory.development):
            read.__get__(run, RunDirectory)
        repeat(folder, cache=folder, out=folder / "again")
        list(find_runs(folder.parent))


def survives(folder: Path) -> str:
    """Uses a run; gives the error's sentence, empty if it could be used."""
    try:
        use(folder)
    except (FusionError, PredictError, CacheError) as error:
        told = str(error)
        assert 0 < len(told.splitlines()) <= 4 and len(told) < 1_500, told
        return told
    return ""


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Every field; of lists the first two members."""
    if here:
        yield here
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*here, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value[:2]):
            yield from places(inner, (*here, number))


def changed(record: Any, place: Place, value: Any) -> Any:
    """A copy with one field of another value; `...` takes it out."""
    copy = json.loads(json.dumps(record))
    inner = copy
    for step in place[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return copy


@pytest.fixture(scope="module", autouse=True)
def not_scored() -> Iterator[None]:
    """Development predictions are not scored: it takes most of the time, and reads no record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ser_predict.models.runs.score_fold", lambda *given: {"UWA": 0.5})
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(GOLDEN / "mdre", tmp_path_factory.mktemp("runs") / "mdre"))
    assert survives(folder) == ""
    return folder


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden export with one row of one head."""
    folder = Path(shutil.copytree(GOLDEN / "hub", tmp_path_factory.mktemp("exports") / "hub"))
    config = json.loads((folder / "config.json").read_text())
    config["rows"] = config["rows"][:1]
    config["rows"][0]["members"] = config["rows"][0]["members"][:1]
    (folder / "config.json").write_text(json.dumps(config))
    assert survives(folder) == ""
    return folder


@pytest.fixture
def broken(run: Path, export: Path) -> Any:
    """``broken(file, bytes)`` puts something in the place of a file and gives the sentence; all is put back."""

    def put(file: str, content: bytes | None) -> str:
        folder = export if file in ("config.json", "model.safetensors") else run
        path = folder / file
        before, when = path.read_bytes(), path.stat().st_mtime_ns
        path.unlink()
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
            os.utime(path, ns=(when, when))  # else its metrics would be made anew every time
        try:
            return survives(folder)
        finally:
            path.rmdir() if content is None else path.unlink()
            path.write_bytes(before)
            os.utime(path, ns=(when, when))

    return put


def fields(run: Path, export: Path) -> list[tuple[str, Any, Place]]:
    found = []
    for file in (*RECORDS, "config.json"):
        record = json.loads(((export if file == "config.json" else run) / file).read_text())
        found += [(file, record, place) for place in places(record) if file != "metrics.json" or place[0] in JUDGED]
    return found


@pytest.mark.crash  # minutes on a busy machine
def test_every_field_of_every_record_may_be_something_else(run: Path, export: Path, broken: Any):
    """Each in turn missing or of another kind, the kinds in rotation."""
    kinds = [..., *VALUES]
    told = [
        broken(file, json.dumps(changed(record, place, kinds[number % len(kinds)])).encode())
        for number, (file, record, place) in enumerate(fields(run, export))
        if kinds[number % len(kinds)] is not ... or isinstance(place[-1], str)
    ]
    assert sum(map(bool, told)) > len(told) / 10  # the test does break something


@pytest.mark.crash
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_field_may_be_anything(run: Path, export: Path, broken: Any, data: st.DataObject):
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(VALUES),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=4,
    )
    file, record, place = data.draw(st.sampled_from(fields(run, export)))
    broken(file, json.dumps(changed(record, place, data.draw(anything))).encode())


NOT_RECORDS = {
    "empty": b"",
    "cut": b'{"format": 1, "rows": [{"na',
    "list": b"[]",
    "number": b"7",
    "null": b"null",
    "latin": b'{"a": "\xff"}',
    "deep": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep list": b"[" * 50_000,
    "digits": b'{"format": ' + b"9" * 5_000 + b"}",
    "folder": None,
}


@pytest.mark.parametrize("kind", NOT_RECORDS)
@pytest.mark.parametrize("file", ["run.json", f"{JOB}/done.json", f"{JOB}/head.json", "config.json"])
def test_a_record_that_is_none_is_named(broken: Any, file: str, kind: str):
    assert Path(file).name in broken(file, NOT_RECORDS[kind])


class Evil:
    """A pickle that leaves a mark."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("file", [f"{JOB}/weights.safetensors", "model.safetensors"])
def test_pickled_and_cut_weights_are_refused(run: Path, export: Path, broken: Any, tmp_path: Path, file: str):
    whole = ((export if file == "model.safetensors" else run) / file).read_bytes()
    marker = tmp_path / "it-ran"
    huge = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    for content in (pickle.dumps(Evil(marker)), whole[:-5], b"", len(huge).to_bytes(8, "little") + huge, None):
        assert "safetensors" in broken(file, content)
    assert not marker.exists()


def test_a_slug_that_leads_out_is_refused(run: Path, broken: Any):
    record = json.loads((run / "run.json").read_text())
    for slug in ("../heads", "..", "/etc", "a/b", ".x", "a\0b", ""):
        record["rows"][0]["slug"] = slug
        assert "slug" in broken("run.json", json.dumps(record).encode())


@pytest.mark.parametrize(
    "sizes",
    [
        {"dims": {"audio": 1 << 23, "text": 1 << 23}},
        {"classes": 1 << 23},
        {"layers": {"audio": 9_999, "text": 9_999}},
        {"shape": {"width": 1 << 23}},
        {"shape": {"feedforward": 1 << 23, "attention_heads": 1 << 24}},
        {"context": 9_999, "ratings": 9_999},
    ],
)
def test_sizes_that_ask_for_terabytes_take_no_memory(tmp_path: Path, sizes: dict[str, Any]):
    """With an address space that ends 1.5 GB above what the process has."""
    folder = Path(shutil.copytree(GOLDEN / "heads/jobs/cross-stats/fold0-seed0", tmp_path / "job"))
    card = json.loads((folder / "head.json").read_text())
    shape = card["shape"] | sizes.get("shape", {})
    (folder / "head.json").write_text(json.dumps(card | sizes | {"shape": shape}))
    from ser_fusion.heads.model import load_model

    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (own + (3 << 29), before[1]))
    try:
        with pytest.raises(RecordBroken, match="card"):
            load_model(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("file", ["predictions.parquet", "development.parquet", "utterances.parquet"])
def test_tables_of_the_wrong_kind_are_named(run: Path, broken: Any, file: str):
    frame = pd.read_parquet(run / file)
    for column in [
        name for name in frame if name in ("row", "id", "fold", "seed", "label", "duration") or name[:2] == "p_"
    ]:
        for values in ("x", None):
            other = frame.assign(**{column: values})
            place = run.parent / "other.parquet"
            other.to_parquet(place)
            broken(file, place.read_bytes())
    for content in (b"", b"PAR1", (run / file).read_bytes()[:-20], None):
        assert file in broken(file, content)


def test_a_cut_done_json_is_a_sentence_of_ser_predict(run: Path, tmp_path: Path):
    folder = Path(shutil.copytree(run, tmp_path / "mine"))
    (folder / JOB / "done.json").write_text('{"fingerprint": "78')
    command = [
        sys.executable,
        "-c",
        "from ser_predict.recordings.cli import predict as main; main()",
        str(folder),
        "x.wav",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "300"})
    assert done.returncode == 1 and "done.json cannot be used" in done.stderr and "Traceback" not in done.stderr
    assert "delete this file's folder" in done.stderr


@pytest.mark.parametrize(
    ("file", "advice"),
    [
        ("run.json", "another --out"),
        (f"{JOB}/head.json", "delete this file's folder"),
        ("audit.json", "delete what is there of it"),
        ("vad.json", "delete what is there of it"),
    ],
)
def test_only_a_training_s_folder_is_advised_to_be_deleted(file: str, advice: str):
    """The folder of another file holds the whole run."""
    assert advice in str(RecordBroken(f"jobs/run/{file}", "it is empty"))
