"""The benchmark runs, compares equal things, and writes what it prints; its times are the machine's own affair."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1] / "benchmarks" / "bench_fusion.py"


def test_the_benchmark_runs_at_tiny_scale(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, BENCH, "--scale", "tiny", "--json", out],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["largest_difference_of_logits"] < 1e-4
    assert set(result["times_faster"]) == set(result["to_reach"]) and all(
        t > 0 for t in result["seconds_per_epoch"].values()
    )
    assert set(result["table"]) == {"1", "4", "8"} and "extrapolated from 8 utterances" in done.stdout
