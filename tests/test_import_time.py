"""`--help` of every command and every package face stays light: judged by the modules that get loaded, not by a clock."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ser_predict.ser import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
HEAVY = {
    "torch",
    "torchaudio",
    "transformers",
    "numpy",
    "pandas",
    "zarr",
    "h5py",
    "sklearn",
    "scipy",
    "matplotlib",
    "pyarrow",
}
PROBE = """
import sys
{action}
loaded = sorted(set(sys.modules) & {heavy!r})
sys.exit(f"loaded: {{loaded}}" if loaded else 0)
"""


def _run(action: str) -> subprocess.CompletedProcess[str]:
    code = PROBE.format(action=action, heavy=HEAVY)
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)


@pytest.mark.parametrize("command", [*SCRIPTS, *(f"ser {name}" for name in COMMANDS)])
def test_help_loads_nothing_heavy(command: str):
    words = [*command.split(), "--help"]
    module, function = SCRIPTS[words[0]].split(":")
    done = _run(
        f"sys.argv = {words}\nfrom {module} import {function} as main\n"
        "try:\n    main.main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code"
    )
    assert done.returncode == 0, done.stderr
    assert f"Usage: {command}" in done.stdout


def test_the_map_loads_no_command():
    done = _run(
        "sys.argv = ['ser', '--help']\nfrom ser_predict.ser import main\ntry:\n    main.main()\nexcept SystemExit: pass\n"
        "assert not [name for name in sys.modules if name.endswith('.cli') or '.cli.' in name]"
    )
    assert done.returncode == 0, done.stderr
    shown = [line.split()[1] for line in done.stdout.partition("Commands")[2].splitlines() if line.startswith("│ ")]
    assert shown == list(COMMANDS)


def test_workers_begin_to_load_before_the_command_loads_anything_heavy():
    done = _run("import ser_fusion.cli.fuse, ser_fusion.runs.ahead")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["ser_data", "ser_cache", "ser_extract", "ser_fusion", "ser_predict"])
def test_package_face_is_lazy_and_true(package: str):
    done = _run(f"import {package}")
    assert done.returncode == 0, done.stderr
    names = f"import {package}\nmissing = [n for n in {package}.__all__ if not hasattr({package}, n)]\nassert not missing, missing"
    done = subprocess.run([sys.executable, "-c", names], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_probe_itself_can_fail():
    assert _run("import numpy").returncode != 0
