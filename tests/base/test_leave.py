"""The end of a command's process: at once, with what was printed and registered, and with the command's exit code."""

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys, threading, time
import rich_click as click
from ser_base.settings import SettingsCommand

class Slow:
    def __del__(self):
        print("taken apart")

slow = Slow()
atexit.register(print, "registered")

@click.command("some", cls=SettingsCommand)
@click.option("--code", type=int, default=0)
@click.option("--thread", is_flag=True)
def command(code, thread):
    if thread:
        threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    print("printed", end="")
    print(" and told", end="", file=sys.stderr)
    sys.exit(code)

sys.argv = ["some", *sys.argv[1:]]
command()
"""


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [0, 3])
def test_ends_at_once_with_all_that_was_said(code: int) -> None:
    done = run("--code", str(code))
    assert (done.returncode, done.stdout, done.stderr) == (code, "printedregistered\n", " and told")


def test_a_thread_at_work_is_waited_for() -> None:
    done = run("--thread")
    assert done.returncode == 0 and "thread" in done.stdout and done.stdout.endswith("taken apart\n")


def test_what_cannot_be_written_is_a_failure() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode and "No space left" in done.stderr


def test_a_full_disk_gives_no_traceback() -> None:
    with open("/dev/full", "w") as full:
        program = PROGRAM.replace('print("taken apart")', "pass")
        done = subprocess.run(
            [sys.executable, "-c", program, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1 and done.stderr.startswith("Error: No space left on device.")
    assert "Traceback" not in done.stderr


def test_wrong_usage_keeps_its_code() -> None:
    done = run("--cod", "1")
    assert done.returncode == 2 and "--code" in done.stderr
