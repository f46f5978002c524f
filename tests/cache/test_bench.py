"""The benchmarks of the cache run from end to end at their tiny scale; no time is asserted."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "benchmarks" / "bench_cache.py"


def test_bench_cache_reports_every_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.syspath_prepend(str(BENCH.parent))
    spec = importlib.util.spec_from_file_location("bench_cache", BENCH)
    assert spec and spec.loader
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    target = tmp_path / "bench.json"
    bench.main(["--scale", "tiny", "--folder", str(tmp_path), "--json", str(target)])
    report = json.loads(target.read_text())
    assert {each["what"] for each in report["results"]} == {"random", "gather", "load", "write"}
    assert len(report["gates"]) == 14 and all(gate["value"] > 0 for gate in report["gates"])
    assert all(each["seconds"] > 0 and each["cpu_seconds"] >= 0 for each in report["results"])
    printed = capsys.readouterr().out
    assert printed.count("GATE") == 14 and "of 14 gates met" in printed
    assert not [path for path in tmp_path.iterdir() if path != target]  # nothing is left behind


def test_bench_catalogue_runs(tmp_path: Path):
    command = [sys.executable, str(BENCH.with_name("bench_catalogue.py")), "--scale", "tiny"]
    done = subprocess.run([*command, "--json", str(tmp_path / "b.json")], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "one look-up" in done.stdout and (tmp_path / "b.json").is_file()
