"""A time limit that a test reaches fails it on an idle machine; on a busy one the test is skipped, and says so."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import subprocess
def test_it(monkeypatch):
    monkeypatch.setenv("TEST_LOAD", "{load}")
    subprocess.run(["sleep", "60"], timeout=0.01)
"""


@pytest.mark.parametrize(("load", "told"), [(1e6, "not judged: too slow (load 1000000 on"), (0.0, "1 failed")])
def test_a_reached_limit(tmp_path: Path, load: float, told: str):
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_it.py").write_text(CODE.format(load=load))
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert told in done.stdout, done.stdout
