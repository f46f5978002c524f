"""Worker processes: they end with the run, and their errors reach the parent."""

import os
import signal
import subprocess
import sys

import pytest

from ser_base.workers import Untold, portable


class Unpicklable(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} {b}")


def test_an_error_that_does_not_survive_pickling_is_told_in_ours():
    error = portable(Unpicklable(1, 2))
    assert isinstance(error, Untold)
    assert "Unpicklable: 1 2" in str(error)


HOLDING = """
import multiprocessing, os, time
from ser_base.workers import die_with_parent

def hold():
    die_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    process = multiprocessing.get_context("forkserver").Process(target=hold)
    process.start()
    process.join()
"""


def test_a_worker_ends_with_the_run_although_a_server_has_forked_it(tmp_path):
    (tmp_path / "holding.py").write_text(HOLDING)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "holding.py")], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline().strip().isdecimal()
    parent.kill()
    parent.wait()
    assert parent.stdout.read() == ""  # its end comes when the worker and the server are gone


LOADING = """
import signal, sys, time
from ser_base.workers import Server

signal.signal(signal.SIGINT, signal.default_int_handler)
server = Server(["slow"], forks=True)
server.ahead()
print("begun", flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    print("Interrupted.", flush=True)
time.sleep(1)
server.end()
"""
SLOW = "import sys, time\nprint('loading', flush=True)\ntime.sleep(2)\n"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no server")
def test_ctrl_c_while_the_server_loads_is_heard_by_the_run_alone(tmp_path):
    """A terminal sends it to every process of the command."""
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "loading.py").write_text(LOADING)
    run = subprocess.Popen(
        [sys.executable, str(tmp_path / "loading.py")],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert run.stdout is not None
    assert {run.stdout.readline(), run.stdout.readline()} == {"begun\n", "loading\n"}
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err) == (0, "Interrupted.\n", "")


TWO_SERVERS = """
import os, sys
from multiprocessing import forkserver
from ser_base.workers import Server

def pid():
    return forkserver._forkserver._forkserver_pid

first = Server(["json"], forks=True)
first.ahead()
before = pid()
same = Server(["json"], forks=True)
same.end()
print(pid() == before)  # it belongs to the first
other = Server(["csv"], forks=True)
print(pid() is None)
other.ahead()
print(pid() not in (None, before))
other.end()
first.end()
print(pid() is None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no server")
def test_a_step_that_needs_other_libraries_has_its_own_server():
    words = [sys.executable, "-c", TWO_SERVERS]
    assert subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout == "True\n" * 4
