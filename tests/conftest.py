"""What every test may use: the real data beside the checkout, if it is there."""

import os
import queue
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test workers share two cores
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches for the network; those about it say so


# no test depends on the clock of a busy machine
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")

LATE = (subprocess.TimeoutExpired, TimeoutError, queue.Empty)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """A limit that a test reaches is a failure on an idle machine. On a busy one it says nothing, and the test is skipped."""
    try:
        return (yield)
    except LATE as late:
        load, cores = float(os.environ.get("TEST_LOAD", os.getloadavg()[0])), os.cpu_count() or 1
        if load <= cores:
            raise
        pytest.skip(f"not judged: too slow (load {load:.0f} on {cores} cores; {type(late).__name__}: {late})")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `../shared` with real corpora and models; the test is skipped where it is absent."""
    folder = Path(os.environ.get("SER_SHARED", ROOT.parent / "shared"))
    if not (folder / "corpora").is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """SER_* variables of the caller's shell would change what the commands do."""
    for name in [
        name for name in os.environ if name.startswith("SER_") and name not in ("SER_SHARED", "SER_CRASH_FULL")
    ]:
        monkeypatch.delenv(name)
