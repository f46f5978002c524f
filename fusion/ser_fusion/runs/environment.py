"""With what a result was made: versions, machine, code. Kept in ``run.json``.

Versions and code decide whether what is stored of judging still holds, never whether a training does.
"""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import xxhash

_PACKAGES = ("ser-fusion", "torch", "numpy", "pandas", "scikit-learn", "scipy", "zarr", "h5py")
_ALSO = ("pyarrow", "matplotlib", "jinja2")  # in what a result is told
JUDGING = ("ser_fusion.evaluation", "ser_data")
"""Our packages that what is kept of judging follows from."""
_CODE = ("ser_base", "ser_data", "ser_cache", "ser_fusion")


def environment() -> dict[str, str]:
    """Name -> version or description."""
    described = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    described |= versions()
    for name in _ALSO:
        described.pop(name, None)
    described["cores"] = str(os.cpu_count())
    commit = _commit()
    if commit:
        described["commit"] = commit
    return described


@cache
def versions() -> dict[str, str]:
    """Name -> version of every library that a result follows from."""
    installed = {}
    for name in (*_PACKAGES, *_ALSO):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


@cache
def code(*packages: str) -> str:
    """xxh3-128 of the source files of our packages, so that results of an older version are not reused.

    Args:
        packages: Names of the packages; by default all that decide training and judging.
    """
    digest = xxhash.xxh3_128()
    for name in packages or _CODE:
        spec = find_spec(name)
        folder = Path(spec.origin).parent if spec and spec.origin else Path(name)
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".j2", ".css", ".js", ".toml", ".csv", ".json") and path.is_file():
                digest.update(str(path.relative_to(folder)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def makers(*packages: str) -> tuple[str, dict[str, str]]:
    """Code and versions that a result follows from; see ``code`` and ``versions``."""
    return code(*packages), versions()


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
