"""Worker processes: they end with the run, and their errors reach the parent."""

import subprocess
import sys

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
