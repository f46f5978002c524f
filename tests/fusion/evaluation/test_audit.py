"""The leak audit finds a planted scenario leak, says so, and finds nothing once the scenario is held out."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ser_base.files import write_json
from ser_fusion.evaluation.audit import audit_run, audit_table
from ser_fusion.evaluation.audit_words import CONTROL
from ser_fusion.evaluation.run_metrics import evaluate_run


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Audit of a generated IEMOCAP-shaped corpus whose words tell the scene and nothing else."""
    from ser_data.corpora import CORPORA
    from ser_data.manifest.labels import resolve_scheme
    from ser_data.synthetic.iemocap_shaped import generate_iemocap_shaped

    root = tmp_path_factory.mktemp("generated") / "corpus"
    generate_iemocap_shaped(root, turns=1000, plant="scenario", shorten=0.25, seed=0)
    manifest = CORPORA["iemocap"].read(root)
    scheme = resolve_scheme("iemocap-7", manifest)
    table = manifest.table.assign(label=scheme.apply(manifest.table["label"]))
    table = table[table["label"].notna()].set_index("id", drop=False).sort_index()
    table["target"] = pd.Index(list(scheme.classes)).get_indexer(table["label"])
    return audit_table(table, scheme.classes, {}, protocols=("session", "session+scenario"))


def score(audit: dict, slug: str, protocol: str) -> dict:
    return next(row for row in audit["rows"] if row["slug"] == slug)["scores"][protocol]


def test_session_shows_a_high_score_that_is_only_the_scenario(planted: dict):
    words = score(planted, "tfidf-svm", "session")
    assert words["UWA"] > words["high"] + 0.08, "the planted leak is not found"
    assert score(planted, "scenario-prior", "session")["UWA"] > 0.3


def test_majority_falls_below_chance_when_scenarios_are_held_out(planted: dict):
    assert score(planted, "majority", "session+scenario")["UWA"] < 1 / 7


def test_session_and_scenario_held_out_leaves_nothing(planted: dict):
    words = score(planted, "tfidf-svm", "session+scenario")
    assert words["low"] <= words["UWA"] <= words["high"], "outside the band of permuted labels"
    assert words["against"]["difference"] <= 0 or words["against"]["p"] >= 0.05, "better than majority and priors"


def test_the_drop_is_the_scenario_and_not_the_smaller_training_part(planted: dict):
    loose, control, strict = (
        score(planted, "tfidf-svm", name)["UWA"] for name in ("session", CONTROL, "session+scenario")
    )
    assert control - strict > 0.5 * (loose - strict)


def test_the_audit_says_so_in_words(planted: dict):
    said = " ".join(planted["words"])
    assert "once the scenario is held out too" in said and "is the scenario, not emotion" in said
    assert (
        "not better than the majority and prior rows" in said
        and "inside the 95 % band of 200 label permutations" in said
    )
    assert "no sign of emotion is left" in said and "without audio or text" in said


def test_a_corpus_without_scenarios_is_told_what_cannot_be_excluded(run_copy: Path):
    table = pd.read_parquet(run_copy / "utterances.parquet").assign(scenario=None, dialogue=None, session=None)
    table.to_parquet(run_copy / "utterances.parquet")
    audit = audit_run(run_copy, permutations=20)
    assert "session+scenario" in audit["skipped"] and "random" in audit["protocols"]
    assert any("Scenario leaks cannot be excluded" in line for line in audit["words"])


def test_heads_join_the_audit_and_the_audit_joins_the_metrics(run_copy: Path):
    predictions = pd.read_parquet(run_copy / "predictions.parquet")
    head = predictions[predictions["row"] == "cross"]
    row = {"slug": "cross", "name": "Cross-MHA", "kind": "head"}
    audit = audit_run(run_copy, permutations=20, protocols=("session",), heads={"session": [(row, head)]})
    assert score(audit, "cross", "session")["UWA"] > 0.4
    write_json(run_copy / "audit.json", audit)
    metrics = evaluate_run(run_copy)
    assert metrics["audit"]["protocols"] == ["session"]
    assert json.loads((run_copy / "metrics.json").read_text())["audit"] == metrics["audit"]
