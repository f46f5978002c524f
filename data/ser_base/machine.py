"""What this machine has, and which part of the work is this process's: devices, cores, `i/N`."""

import os
import sys
from pathlib import Path

DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""One of them is there where Linux has a GPU's driver."""


def resolve_device(device: str) -> str:
    """`auto` becomes `cuda` where torch sees a GPU, else `cpu`; without a GPU's driver torch is not even loaded."""
    if device != "auto":
        return device
    if sys.platform == "linux" and not any(Path(driver).exists() for driver in DRIVERS):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
