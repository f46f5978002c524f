"""What this process may use, and which part of the work is its own."""

from pathlib import Path

import pytest

from ser_base.machine import (
    GROUP_FILES,
    NoCard,
    check_part,
    each_device,
    memory_left,
    parse_part,
    resolve_device,
    usable_cores,
)


def test_a_part_of_the_work():
    assert parse_part("2/8") == (2, 8) and check_part((8, 8)) == (8, 8)


@pytest.mark.parametrize("text", ["", "2", "2/", "/8", "0/8", "9/8", "-1/8", "1.5/8", "2/8/9", "a/b"])
def test_other_texts_are_refused_with_an_example(text: str):
    with pytest.raises(ValueError, match="is not i/N.*for example 2/8"):
        parse_part(text)


def test_a_device_that_is_named_is_kept():
    assert resolve_device("cuda:1") == "cuda:1" and resolve_device("auto") in ("cpu", "cuda") and usable_cores() >= 1


@pytest.mark.parametrize(
    ("device", "each"),
    [
        ("cpu", ["cpu"]),
        ("cuda", ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda:1", ["cuda:1"]),
        ("cuda:2,0,2", ["cuda:2", "cuda:0"]),
    ],
)
def test_every_visible_card_is_a_device_of_its_own(device: str, each: list[str]):
    assert list(each_device(device, visible=3)) == each


@pytest.mark.parametrize(("device", "visible"), [("cuda", 0), ("cuda:3", 3), ("cuda:0,3", 3)])
def test_a_card_that_is_not_there_is_an_error(device: str, visible: int):
    with pytest.raises(NoCard, match=f"--device {device} was given, and torch sees {visible} GPUs"):
        each_device(device, visible)


def group_of(folder: Path, limit: str, used: int, idle: int, version: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    limits, now, old = GROUP_FILES[0 if version == 2 else 1]
    for name, text in ((limits, limit), (now, str(used)), ("memory.stat", f"anon 5\n{old} {idle}")):
        (folder / name).write_text(f"{text}\n")
    return folder


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with 4 MB left."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:  4000 kB\n")
    return tmp_path / "proc"


def test_memory_of_the_system(tmp_path: Path, proc: Path):
    assert memory_left(tmp_path / "none", tmp_path / "none") is None
    assert memory_left(proc, tmp_path / "none") == 4000 * 1024


def test_memory_of_a_container_that_is_outermost(tmp_path: Path, proc: Path):
    assert memory_left(proc, group_of(tmp_path / "v2", "max", 1, 1)) == 4000 * 1024
    assert memory_left(proc, group_of(tmp_path / "v2", "3000000", 1_000_000, 500_000)) == 2_500_000
    (proc / "self/cgroup").write_text("12:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n0::/\n")  # and a path it has not
    group_of(tmp_path / "v1/memory", "2000000", 1_000_000, 300_000, version=1)
    assert memory_left(proc, tmp_path / "v1") == 1_300_000


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("limited", ["job_7", "job_7/step_0", ""])
def test_memory_of_a_scheduler_that_limits_a_group_within(tmp_path: Path, proc: Path, version: int, limited: str):
    line, root = ("0::", "") if version == 2 else ("3:hugetlb,memory:", "hugetlb,memory")
    (proc / "self/cgroup").write_text(f"7:pids:/elsewhere\n{line}/slurm/job_7/step_0\n")
    group_of(tmp_path / "groups/elsewhere", "1", 1, 0)  # another one's
    for folder in ("slurm/job_7/step_0", "slurm/job_7", "slurm"):
        group_of(tmp_path / "groups" / root / folder, "max" if version == 2 else str(2**63 - 4096), 0, 0, version)
    group_of(tmp_path / "groups" / root / "slurm" / limited, "3000000", 1_000_000, 0, version)
    assert memory_left(proc, tmp_path / "groups") == 2_000_000
