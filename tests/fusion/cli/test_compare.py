"""`ser compare` as a user meets it: right numbers, refusals that say how runs differ, exit codes."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from fake_run import write_run

from ser_predict.ser import main


def call(*arguments: object, command: str = "compare") -> Result:
    return CliRunner().invoke(main, [command, *(str(argument) for argument in arguments)], env={"COLUMNS": "140"})


def test_one_run_gives_its_declared_families(judged_run: Path):
    done = call(judged_run)
    assert done.exit_code == 0, done.output
    assert "Self-MHA - Cross-MHA = " in done.output and "primary" in done.output and "exploratory" in done.output


def test_two_rows_equal_the_runs_own_numbers(judged_run: Path):
    got = json.loads(call(f"{judged_run}:self", f"{judged_run}:cross", "--json").output)
    metrics = json.loads((judged_run / "metrics.json").read_text())
    own = next(c for c in metrics["comparisons"] if (c["slug_a"], c["slug_b"]) == ("self", "cross"))
    assert len(got) == 1 and got[0]["p"] == own["p"] and got[0]["difference"] == pytest.approx(own["difference"])
    assert got[0]["family"] == "exploratory" and got[0]["p_holm"] is None


def test_a_run_compared_with_its_twin_shows_no_difference(judged_run: Path, run_copy: Path):
    done = call(judged_run, run_copy, "--json")
    found = json.loads(done.output)
    assert len(found) == 5 and all(item["p"] == 1.0 and item["difference"] == 0 for item in found)


def test_other_labels_are_refused_with_an_example(judged_run: Path, run_copy: Path):
    table = pd.read_parquet(run_copy / "utterances.parquet")
    table.loc[10, "label"] = "sad" if table.loc[10, "label"] != "sad" else "happy"
    table.iloc[:-1].to_parquet(run_copy / "utterances.parquet")
    done = call(judged_run, run_copy)
    assert done.exit_code == 1
    assert "1 utterances have other labels: " + table.loc[10, "id"] in done.output
    assert "1 utterances are only in the first run" in done.output and "--from-run" in done.output


def test_other_folds_and_corpora_are_refused(judged_run: Path, run_copy: Path):
    run = json.loads((run_copy / "run.json").read_text())
    run["folds_fingerprint"], run["protocol"], run["corpus"]["name"] = "other", "random", "elsewhere"
    (run_copy / "run.json").write_text(json.dumps(run))
    folds = pd.read_csv(run_copy / "folds.csv")
    folds.loc[folds["part"] == "dev", "part"] = "train"
    folds.to_csv(run_copy / "folds.csv", index=False)
    done = call(judged_run, run_copy)
    assert done.exit_code == 1
    for words in ("corpora differ: demo and elsewhere", "protocols differ: session", "250 entries are in another part"):
        assert words in done.output


def test_unknown_row_is_answered_with_the_nearest(judged_run: Path):
    done = call(f"{judged_run}:slef", f"{judged_run}:cross")
    assert done.exit_code == 1 and "Did you mean 'self'?" in done.output


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("compare", ()), ("compare", ("x", "--metric", "UAR")), ("report", ()), ("audit", ()), ("runs", ("a", "b"))],
)
def test_wrong_usage_is_exit_code_two(command: str, arguments: tuple[str, ...]):
    assert call(*arguments, command=command).exit_code == 2


def test_a_folder_that_is_no_run_is_exit_code_one(tmp_path: Path):
    done = call(tmp_path)
    assert done.exit_code == 1 and "is not a run directory" in done.output and "Traceback" not in done.output


def test_list_finds_runs_and_shows_broken_ones(judged_run: Path, tmp_path: Path):
    shutil.copytree(judged_run, tmp_path / "a" / "one")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.json").write_text("not json")
    (tmp_path / "loop").symlink_to(tmp_path)
    done = call(tmp_path, command="runs")
    assert done.exit_code == 0 and done.output.count("one") == 1 and "cannot be read" in done.output
    assert "No run below" in call(tmp_path / "a" / "one" / "jobs", command="runs").output
    assert call(tmp_path / "nowhere", command="runs").exit_code == 1


def test_report_and_audit_are_written_anew(tmp_path: Path):
    path = write_run(tmp_path / "run", per_speaker=12, seeds=(0,), skill={"audio": 0.8, "cross": 1.2}, curves=False)
    done = call(path, command="audit")
    assert done.exit_code == 0, done.output
    assert (
        (path / "audit.json").exists() and (path / "report.html").exists() and str(path / "report.html") in done.output
    )
    assert "Leak audit, UWA" in (path / "report.html").read_text()


def only(path: Path, *slugs: str) -> Path:
    """The run with these of its trained rows."""
    frame = pd.read_parquet(path / "predictions.parquet")
    frame[frame["row"].isin(slugs)].to_parquet(path / "predictions.parquet")
    return path


def test_rows_of_two_runs_on_the_same_ground_are_compared(judged_run: Path, tmp_path: Path):
    """One run holds `self`, the other `cross`: without names, by name, and as in one run."""
    a, b = (only(Path(shutil.copytree(judged_run, tmp_path / name)), name) for name in ("self", "cross"))
    one = json.loads(call(f"{judged_run}:self", f"{judged_run}:cross", "--json").output)
    for arguments in ((a, b), (f"{a}:self", f"{b}:cross")):
        found = json.loads(call(*arguments, "--json").output)
        assert len(found) == 1 and (found[0]["slug_a"], found[0]["slug_b"]) == ("self", "cross")
        assert found[0]["family"] == "exploratory" and "exploratory" in found[0]["sentence"]
        assert found[0]["p"] == one[0]["p"] and found[0]["difference"] == one[0]["difference"]


def test_many_pairs_of_two_runs_are_asked_for_by_name(judged_run: Path, tmp_path: Path):
    a = only(Path(shutil.copytree(judged_run, tmp_path / "a")), "self", "audio", "text", "self-nosp")
    b = only(Path(shutil.copytree(judged_run, tmp_path / "b")), "cross")
    assert len(json.loads(call(a, b, "--json").output)) == 4
    run = json.loads((b / "run.json").read_text())
    frame = pd.read_parquet(b / "predictions.parquet")
    more = []
    for number in range(3):
        info = next(row for row in run["rows"] if row["slug"] == "cross")
        run["rows"].append({**info, "slug": f"late{number}", "name": f"late {number}", "fusion": "late"})
        more.append(frame.assign(row=f"late{number}"))
    run["rows"] = [row for row in run["rows"] if row["slug"] != "cross"]
    pd.concat(more).to_parquet(b / "predictions.parquet")
    (b / "run.json").write_text(json.dumps(run))
    done = call(a, b)
    assert done.exit_code == 1 and "12 pairs" in done.output and f"{a}:audio {b}:late0" in done.output


def test_what_was_declared_later_is_exploratory_and_says_so(run_copy: Path):
    from ser_fusion.evaluation.run_metrics import evaluate_run
    from ser_fusion.reporting.report import write_report

    run = json.loads((run_copy / "run.json").read_text())
    first = {"time": "2026-01-01T00:00:00+00:00", "named_head": "cross"}
    first["primary"] = [
        {"a": "self", "b": "cross", "time": first["time"]},
        {"a": "cross", "b": "audio", "time": first["time"]},
    ]
    asked = [
        {"time": time, "job": {"named_head": head}} for time, head in ((first["time"], "cross"), ("2026-01-02", "self"))
    ]
    run |= {"declared": first, "asked": asked}
    run["job"] = {**run.get("job", {}), "named_head": "self"}
    (run_copy / "run.json").write_text(json.dumps(run))
    pairs = {(one["slug_a"], one["slug_b"]): one for one in evaluate_run(run_copy)["comparisons"]}
    assert [pair for pair, one in pairs.items() if one["family"] == "primary"] == [
        ("self", "cross"),
        ("cross", "audio"),
    ]
    late = next(one for pair, one in pairs.items() if set(pair) == {"self", "audio"})
    said = "exploratory: self was named at 2026-01-02, after the first declaration (cross, 2026-01-01T00:00:00+00:00)"
    assert late["family"] == "exploratory" and late["p_holm"] is None and said in late["sentence"]
    page = write_report(run_copy, files=False).read_text()
    assert said in page and "Declared first, at 2026-01-01T00:00:00+00:00: named head cross" in page
    assert said in " ".join(call(run_copy).output.split())
