"""The dependency laws of pyproject.toml and of this file, judged on this checkout and not on an installed copy."""

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ["extract", "fusion", "data", "cache"]


def test_import_contracts_are_kept():
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / source) for source in SOURCES)}
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(command, cwd=ROOT, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_file_outgrows_400_lines():
    grown = {
        str(path.relative_to(ROOT)): lines
        for source in SOURCES
        for path in (ROOT / source).rglob("*.py")
        if (lines := path.read_text(encoding="utf-8").count("\n")) > 400
    }
    assert not grown


def circle(sources: Mapping[str, str]) -> list[str]:
    """A circle among modules (name -> source); empty if there is none. Lazy imports and those for types count."""
    graph: dict[str, set[str]] = {}
    for name, source in sources.items():
        found = graph.setdefault(name, set())
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                found |= {one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom):
                inside = [f"{node.module}.{one.name}" for one in node.names]
                found |= {path if path in sources else str(node.module) for path in inside}
        found &= sources.keys() - {name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_import_circle():
    sources = {}
    for source in SOURCES:
        for path in (ROOT / source).rglob("*.py"):
            parts = path.relative_to(ROOT / source).with_suffix("").parts
            sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    assert len(sources) > 100
    assert circle(sources) == []


@pytest.mark.parametrize("second", ["def f():\n    import p.a", "if TYPE_CHECKING:\n    from p.a import X"])
def test_a_circle_is_found(second: str):
    assert circle({"p": "", "p.a": "from p import b", "p.b": second}) in (["p.a", "p.b", "p.a"], ["p.b", "p.a", "p.b"])
    assert circle({"p": "", "p.a": "from p import b", "p.b": ""}) == []
