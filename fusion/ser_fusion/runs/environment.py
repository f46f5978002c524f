"""With what a result was made: versions, machine, code. Kept in ``run.json``; never part of a fingerprint."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("ser-fusion", "torch", "numpy", "pandas", "scikit-learn", "scipy", "zarr", "h5py")


def environment() -> dict[str, str]:
    """Name -> version or description."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["cores"] = str(os.cpu_count())
    commit = _commit()
    if commit:
        found["commit"] = commit
    return found


def resolve_device(wanted: str) -> str:
    """``auto`` is a GPU if torch finds one."""
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _commit() -> str:
    """Commit of the checkout this code runs from, with ``+`` if files were changed; empty elsewhere."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        head = subprocess.run(
            ["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
        changed = subprocess.run(
            ["git", "-C", root, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
