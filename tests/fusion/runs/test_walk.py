"""How straight a job's way through the code is, from the command to the report.

A reader who follows one small job opens the file of each function of a module where the job first calls it from another file.
What counts is a return: such a call into a file that the reader has entered and left before. Methods and inner functions do not
count: their file is open already. By this rule the code before the redesign of the folders (commit 1542969) had 46 returns.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import ser_fusion
from ser_fusion.cli.fuse import command

MOST = 14
SOURCES = str(Path(ser_fusion.__file__).parent) + os.sep
Call = tuple[str, str, str | None]


def calls(run: Callable[[], Any]) -> list[Call]:
    """First calls of functions of ``ser_fusion``: file, function, and the file of our code that calls it."""
    seen: dict[tuple[str, str], Call] = {}

    def ours(frame: FrameType | None) -> Iterator[str]:
        while frame is not None:
            if frame.f_code.co_filename.startswith(SOURCES):
                yield frame.f_code.co_filename
            frame = frame.f_back

    def watch(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(SOURCES) or not code.co_qualname.isidentifier():
            return
        if (code.co_filename, code.co_name) not in seen:
            caller = next(ours(frame.f_back), None)
            seen[code.co_filename, code.co_name] = (code.co_filename, code.co_name, caller)

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return list(seen.values())


def returns(walk: list[Call]) -> list[str]:
    """The calls that lead back into a file that was left."""
    entered, here, found = set[str](), "", []
    for file, name, caller in walk:
        if caller != file:
            if file != here and file in entered:
                found.append(f"{os.path.relpath(file, SOURCES)}: {name}")
            entered.add(file)
            here = file
    return found


def test_a_walk_counts_what_leads_back() -> None:
    walk: list[Call] = [
        ("a", "f", None), ("b", "g", "a"), ("b", "h", "a"), ("a", "k", "a"), ("c", "l", "b"), ("b", "m", "c"),
    ]  # fmt: skip
    assert returns(walk) == [f"{os.path.relpath('b', SOURCES)}: m"]


def test_a_job_goes_straight_from_the_command_to_the_report(small_cache: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"  # without what runs of other tests have kept with it
    shutil.copytree(small_cache, cache, ignore=shutil.ignore_patterns("audit-*"))
    options = ["--cache", str(cache), "--out", str(tmp_path / "run"), "--workers", "0", "--epochs", "1"]

    def run() -> None:
        with pytest.raises(SystemExit) as done:
            command([*options, "--protocol", "session"], standalone_mode=False)
        assert done.value.code == 0

    walk = calls(run)
    assert (tmp_path / "run" / "report.html").is_file() and len({file for file, *_ in walk}) > 40
    assert len(found := returns(walk)) <= MOST, "\n".join(found)
