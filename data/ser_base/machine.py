"""What this machine has, and which part of the work is this process's: devices, cores, `i/N`."""

import atexit
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from ser_base.errors import SerError

DEVICES = r"^(auto|cpu|cuda(:[0-9]+(,[0-9]+)*)?)$"
"""What ``--device`` may be: `cuda` is every visible card, `cuda:1` or `cuda:0,2` some of them."""

MOST_THREADS = 8  # more wait for each other
LONG = 50_000
"""Numbers of a row from which on several threads go through them faster than one."""
GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files of a control group, of version 2 and 1: its limit, what it uses, and what of that are files that can go."""
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""One of them is there where Linux has a GPU's driver."""


class NoCard(SerError, ValueError):
    """A card was asked for that torch does not see."""

    asked: str
    visible: int
    got = "--device {asked} was given, and torch sees {visible:,} GPUs."
    next = "Give --device cpu, or look at nvidia-smi and CUDA_VISIBLE_DEVICES."


def resolve_device(device: str) -> str:
    """`auto` becomes `cuda` where torch sees a GPU, else `cpu`; without a GPU's driver torch is not even loaded."""
    if device != "auto":
        return device
    if sys.platform == "linux" and not any(Path(driver).exists() for driver in DRIVERS):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def each_device(device: str, visible: int | None = None) -> tuple[str, ...]:
    """The devices that a name stands for, one worker process each: `cuda:0,2` is `cuda:0` and `cuda:2`; `cpu` is one.

    Args:
        device: See `DEVICES`.
        visible: GPUs of this machine; None: those that torch sees.

    Raises:
        NoCard: A card is not there.
    """
    name = resolve_device(device)
    if name == "cpu":
        return (name,)
    if visible is None:
        import torch

        visible = torch.cuda.device_count()
    listed = name.partition(":")[2]
    numbers = [int(number) for number in listed.split(",")] if listed else list(range(visible))
    if not numbers or max(numbers) >= visible:
        raise NoCard(device, visible)
    return tuple(f"cuda:{number}" for number in dict.fromkeys(numbers))


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(work: Callable[[Any], None], rows: Any, numbers: int) -> None:
    """Calls ``work`` with parts of an array of rows, on several threads where its loops are long enough to gain by it.

    numpy's loops let other threads run; what lies between them does not. With short ones threads would wait for each other.

    Args:
        work: Takes some of the rows.
        rows: ``(n,)``, or anything that is cut by slices.
        numbers: How many numbers it goes through for all of them.
    """
    threads = min(usable_cores(), MOST_THREADS) if numbers > LONG * len(rows) else 1
    if threads < 2:
        work(rows)
        return
    from concurrent.futures import ThreadPoolExecutor

    size = -(-len(rows) // (8 * threads))  # small parts, so that no thread waits for long in the end
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, [rows[start : start + size] for start in range(0, len(rows), size)]):
            pass


def memory_left(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that processes may still take, by the system and by the control groups of this process; None where nobody says.

    A container or a scheduler such as SLURM limits a group, or one of those that hold it.

    Args:
        proc: Where Linux tells of its memory and of the groups of this process.
        groups: Where it tells of control groups, of version 1 or 2.
    """
    left = []
    with suppress(OSError, ValueError, StopIteration):
        line = next(line for line in (proc / "meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
        left.append(int(line.split()[1]) * 1024)
    for group in _groups(proc, groups):
        for limits, used_now, idle in GROUP_FILES:
            with suppress(OSError, ValueError):  # "max" where there is no limit
                limit, used = (int((group / name).read_text()) for name in (limits, used_now))
                facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                left.append(limit - used + int(facts.get(idle, 0)))  # files that were read can go
    return max(min(left), 0) if left else None


def _groups(proc: Path, groups: Path) -> set[Path]:
    """Folders of the control groups that may limit this process's memory: its own, and those that hold them.

    A container often sees its own group as the outermost one, and a path that it does not have: then only that one is read.
    """
    folders = {groups}
    with suppress(OSError, ValueError):
        for line in (proc / "self/cgroup").read_text().splitlines():
            number, kinds, path = line.split(":", 2)
            root = groups if number == "0" else groups / kinds
            if number == "0" or "memory" in kinds.split(","):
                own = root / path.lstrip("/")
                folders |= {root, own, *(parent for parent in own.parents if parent.is_relative_to(root))}
    return folders


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, for its next tensors: at most 1 GiB, and tensors of at most 32 MiB.

    glibc gives large blocks back at once and asks for them again. Every new page then costs a fault and is filled with
    zeros, which a training pays in each step (docs/background/performance.md#training). Other C libraries are left as
    they are.
    """
    trim_threshold, mmap_threshold = -1, -3  # as in malloc.h
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, 1 << 30)
        mallopt(mmap_threshold, 32 << 20)


def leave(code: int | str | None) -> NoReturn:
    """Ends this process as `sys.exit` does, without taking loaded libraries apart: torch alone takes a second for that.

    What libraries have registered for the end of the process is run, and what was printed is flushed. While another thread
    is at work, or where what was printed cannot be written, the process ends in the usual way.

    Args:
        code: As `SystemExit.code`.
    """
    first = threading.main_thread()
    if any(thread is not first and not thread.daemon for thread in threading.enumerate()) or not (
        code is None or isinstance(code, int)
    ):
        sys.exit(code)
    atexit._run_exitfuncs()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except (OSError, ValueError):
        sys.exit(code)
    os._exit(code or 0)


def parse_part(text: str) -> tuple[int, int]:
    """`2/8` as `(2, 8)`: the second of eight parts of the work, for the jobs of a SLURM array.

    Raises:
        ValueError: Anything else, or a part that is not one of the N.
    """
    first, _, count = text.partition("/")
    if not (first.isdecimal() and count.isdecimal()):
        raise ValueError(f"'{text}' is not i/N, for example 2/8")
    return check_part((int(first), int(count)))


def check_part(part: tuple[int, int]) -> tuple[int, int]:
    """The part itself.

    Raises:
        ValueError: It is not one of the N.
    """
    if not 1 <= part[0] <= part[1]:
        raise ValueError(f"'{part[0]}/{part[1]}' is not i/N with i from 1 to N, for example 2/8")
    return part
