"""The wheel holds the packages of pyproject's table, every file of them, and nothing else; what the Dockerfile copies is enough."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
    "packages"
]


COPIED = [
    name
    for line in (ROOT / "Dockerfile").read_text().splitlines()
    if line.startswith("COPY ")
    for name in line.split()[1:-1]
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in the wheel that is built from the files that the Dockerfile copies."""
    out, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out), str(source)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_wheel_equals_the_packages_in_git(wheel: set[str]):
    tracked = subprocess.run(
        ["git", "ls-files", "-z", *PACKAGES], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    assert wheel == {name.split("/", 1)[1] for name in tracked.stdout.split("\0") if name}


def test_every_package_is_typed(wheel: set[str]):
    assert {f"{package.split('/')[1]}/py.typed" for package in PACKAGES} <= wheel
