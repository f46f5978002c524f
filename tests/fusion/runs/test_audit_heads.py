"""Heads in the leak audit, and training without the texts that are tested."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ser_base.errors import UnknownName
from ser_data.manifest.table import Manifest
from ser_data.manifest.text import text_hash
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.run import audited_job, run
from ser_fusion.study.open import open_study


def test_heads_are_trained_under_every_protocol_that_the_corpus_serves(
    small_cache: Path, tmp_path: Path, read_json: Callable[[Path], Any]
) -> None:
    job = FuseJob(
        cache=small_cache, out=tmp_path / "run", fusion=("text",), epochs=1, stride=8, workers=1, audit_heads=("audio",)
    )
    run(job)
    audit = read_json(job.out / "audit.json")
    rows = {row["slug"]: row for row in audit["rows"]}
    assert set(rows["audio-stats"]["scores"]) == {"random", "session", "speaker"}
    assert "session+scenario" in audit["skipped"]  # the corpus has no scenarios
    again = pd.read_parquet(next((job.out / "audit" / "session").glob("jobs/*/*/test.parquet")))
    assert set(again["row"]) == {"audio-stats"}
    assert "audio-stats" not in set(pd.read_parquet(job.out / "predictions.parquet")["row"])
    written = {path: path.stat().st_mtime_ns for path in (job.out / "audit").rglob("done.json")}
    assert len(written) == 3 + 6 + 5  # sessions, speakers, random folds
    run(job)
    assert written == {path: path.stat().st_mtime_ns for path in (job.out / "audit").rglob("done.json")}


def test_an_audited_job_differs_in_heads_and_folds_only(tmp_path: Path) -> None:
    job = FuseJob(cache=tmp_path, out=tmp_path / "run", table="study", seeds=(1, 2), audit_heads=("self",), part=(1, 2))
    audited = audited_job(job, "speaker")
    before, after = job.model_dump(), audited.model_dump()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"fusion", "table", "stack", "audit_heads", "protocol", "part", "out"}
    assert audited.out == tmp_path / "run" / "audit" / "speaker"


def test_an_unknown_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'cross'"):
        FuseJob(cache=tmp_path, out=tmp_path, audit_heads=("crosss",))


def test_training_leaves_out_what_is_tested(small_cache: Path, tmp_path: Path) -> None:
    from ser_cache import open_cache

    stored = tmp_path / "manifest.parquet"
    stored.write_bytes(open_cache(small_cache).attachment("manifest.parquet"))
    manifest = Manifest.read(stored)
    table = manifest.table.copy()
    table["text"] = [f"line {number // 2 % 40}" for number in range(len(table))]  # half of the lines in two sessions
    table["text_hash"] = [text_hash(text) for text in table["text"]]
    Manifest(table, manifest.info).write(stored)
    plain = open_study(small_cache, manifest=stored)
    cleaned = open_study(small_cache, manifest=stored, drop_seen_text=True)
    texts = table.set_index("id")["text"]
    dropped = 0
    for with_, without in zip(plain.folds.folds, cleaned.folds.folds, strict=True):
        tested = set(texts[list(with_.test)])
        assert tested & set(texts[list(with_.train)])  # else the test says nothing
        assert not tested & set(texts[list(without.train)])
        assert not tested & set(texts[list(without.dev)]) and with_.test == without.test
        dropped += len(with_.train) - len(without.train) + len(with_.dev) - len(without.dev)
    assert any(f"{dropped:,} training and development utterances left out" in note for note in cleaned.notes)
    assert plain.data_fingerprint != cleaned.data_fingerprint
