"""The check for machines with a GPU runs on a CPU at its smallest: it finds every promise kept, and measures nothing."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu_check.py"


def test_gpu_check_runs_on_a_cpu_and_writes_what_it_found(tmp_path):
    found, table = tmp_path / "found.json", tmp_path / "table.md"
    told = ["--device", "cpu", "--scale", "tiny", "--json", str(found), "--table", str(table)]
    done = subprocess.run([sys.executable, SCRIPT, *told], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads(found.read_text())["parts"]
    assert set(parts) == {"contract", "heads", "memory", "study", "encoders"}
    assert all(row["kept"] for part in ("contract", "heads", "memory") for row in parts[part].values())
    assert all(f"**{part}**" in table.read_text() for part in parts)
