"""What every test may use: the real data beside the checkout, if it is there."""

import os
import queue
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test workers share two cores
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches for the network; those about it say so


# no test depends on the clock of a busy machine
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The pages' code first: each is long, and at the end one worker would wait for the other."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")


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


CRASHING = """
import os, signal, sys
STARTS = ("multiprocessing.forkserver", "spawn_main", "default_worker.py")  # a server, a process of its own, an actor of Ray
if any(start in argument for argument in sys.orig_argv for start in STARTS):
    def crash(times):
        for number in range(times):
            try:
                os.close(os.open({log!r} + str(number), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)

    {body}
"""


@pytest.fixture
def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[[], int]]:
    """Source that every worker process runs when it starts -> the number of deaths so far.

    The source calls `crash(times)` where a native library would crash: all workers together die so often there.
    """

    def install(body: str) -> Callable[[], int]:
        folder = tmp_path / "crashing"
        folder.mkdir()
        source = CRASHING.format(log=str(folder / "death"), body=body.strip().replace("\n", "\n    "))
        (folder / "sitecustomize.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        return lambda: len(list(folder.glob("death*")))

    return install
