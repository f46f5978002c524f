"""The benchmark of manifests runs: a protocol that it cannot serve would end it."""

import runpy
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "bench_data.py"


def test_the_benchmark_walks_every_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(BENCHMARK))["main"](240)
    told = capsys.readouterr().out
    assert "folds: session+scenario" in told and "peak memory" in told
