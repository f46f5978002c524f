"""One run directory for all tests that only read it."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for fake_run: tests are imported by path, not as a package


@pytest.fixture(scope="session")
def judged_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run directory with metrics.json; read only."""
    from fake_run import write_run

    from ser_fusion.evaluation.run_metrics import evaluate_run

    path = write_run(tmp_path_factory.mktemp("runs") / "demo", per_speaker=25, seeds=(0, 1))
    evaluate_run(path)
    return path


@pytest.fixture
def run_copy(judged_run: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(judged_run, tmp_path / "copy"))
