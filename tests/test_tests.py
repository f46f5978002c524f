"""The laws of the tests themselves: every test asserts something, and few replace names of the product."""

import ast
from pathlib import Path

TESTS = Path(__file__).resolve().parent
RAISING = {"raises", "warns", "deprecated_call", "fail", "run_state_machine_as_test"}  # of pytest and of hypothesis


def names_called(body: ast.AST) -> set[str]:
    """Last names of what a body calls: ``pytest.raises(...)`` is ``raises``."""
    calls = [node.func for node in ast.walk(body) if isinstance(node, ast.Call)]
    return {call.attr for call in calls if isinstance(call, ast.Attribute)} | {
        call.id for call in calls if isinstance(call, ast.Name)
    }


def asserts(body: ast.AST, helpers: set[str]) -> bool:
    """Whether a body asserts, or calls something that does."""
    if any(isinstance(node, ast.Assert) for node in ast.walk(body)):
        return True
    names = names_called(body)
    raised = [
        node.exc.func for node in ast.walk(body) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    ]
    if any(isinstance(func, ast.Name) and func.id == "AssertionError" for func in raised):
        return True
    return bool(names & (RAISING | helpers)) or any(name.startswith("assert_") for name in names)


def functions(tree: ast.AST) -> dict[str, ast.AST]:
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def helpers_of(bodies: dict[str, ast.AST]) -> set[str]:
    """Names of functions that assert, themselves or through one another."""
    helpers: set[str] = set()
    while more := {name for name, body in bodies.items() if name not in helpers and asserts(body, helpers)}:
        helpers |= more
    return helpers


def without_assertion(folder: Path) -> list[str]:
    """Tests below a folder whose bodies assert nothing. Helpers are found in the file, in each ``conftest.py`` above it, in
    modules of the folder from which it imports, and in the public contracts (``testing.py``) of our packages."""
    contracts = [
        functions(ast.parse(path.read_text(encoding="utf-8"))) for path in TESTS.parent.glob("*/ser_*/testing.py")
    ]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.py"))}
    silent = []
    for path, tree in trees.items():
        if not path.name.startswith("test_"):
            continue
        imports = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        shared = [
            functions(other)
            for place, other in trees.items()
            if (place.name == "conftest.py" and place.parent in path.parents) or place.stem in imports
        ]
        bodies = {name: body for own in [*contracts, *shared, functions(tree)] for name, body in own.items()}
        helpers = helpers_of(bodies)
        for name, body in functions(tree).items():
            if name.startswith("test_") and not asserts(body, helpers - {name}):
                silent.append(f"{path.relative_to(folder)}::{name}")
    return silent


def test_every_test_asserts_something():
    assert without_assertion(TESTS) == []


def test_a_test_without_an_assertion_is_named(tmp_path: Path):
    (tmp_path / "conftest.py").write_text("def same(a, b):\n    assert a == b\n")
    (tmp_path / "test_a.py").write_text(
        "def twice(a):\n    same(a, a)\n\n\ndef test_helped():\n    twice(1)\n\n\ndef test_silent():\n    print(twice)\n"
    )
    assert without_assertion(tmp_path) == ["test_a.py::test_silent"]


PATCHED = 20
"""Most names that tests replace in the whole tree. A real seam is better: an argument, a variable of the environment, a file."""


def patched(folder: Path) -> list[str]:
    """Places below a folder where a test replaces a name with ``setattr`` of pytest."""
    return [
        f"{path.relative_to(folder)}:{node.lineno}"
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr"
    ]


def test_few_names_are_replaced(tmp_path: Path):
    places = patched(TESTS)
    assert len(places) <= PATCHED, places
    (tmp_path / "test_a.py").write_text("def test_it(monkeypatch):\n    monkeypatch.setattr(os, 'link', None)\n")
    assert patched(tmp_path) == ["test_a.py:2"]
