"""What people read: help of every command, every error's sentences, and the pages. The rules stand in CONTRIBUTING.md, Language."""

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ser_base.catalog import resolve
from ser_predict.ser import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ["extract", "fusion", "data", "cache"]
PROSE = runpy.run_path(str(ROOT / "docs" / "prose.py"))
RULES = PROSE["RULES"]


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from commands(child, f"{name} {child.name}")


def help_texts() -> Iterator[tuple[str, str]]:
    """Place and text of every help: of commands, and of options, hidden ones too."""
    yield "ser", main.help or ""
    for name, (path, line) in COMMANDS.items():
        yield f"ser: {name}", line
        for place, command in commands(resolve(path), f"ser {name}"):
            yield place, command.help or ""
            for parameter in command.params:
                if text := getattr(parameter, "help", None):
                    yield f"{place} {parameter.opts[0]}", text


def written(node: ast.AST) -> str | None:
    """The text of a literal, with X for what is put in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
    return None


def texts_in(node: ast.AST) -> Iterator[str]:
    """The literals below a node, each f-string as one."""
    text = written(node)
    if text is not None:
        yield text
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts_in(child)


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Path and syntax tree of every file of the packages."""
    for path in sorted(path for source in SOURCES for path in (ROOT / source).rglob("*.py")):
        yield "/".join(path.relative_to(ROOT).parts[1:]), ast.parse(path.read_text(encoding="utf-8"))


def error_texts() -> Iterator[tuple[str, str]]:
    """Place and text of every error: ``got``, ``known`` and ``next`` of classes, and what stands where it is raised."""
    for path, tree in trees():
        for node in ast.walk(tree):
            place = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ClassDef):
                parts = [line for line in node.body if isinstance(line, ast.Assign)]
                parts = [line for line in parts if getattr(line.targets[0], "id", "") in ("got", "known", "next")]
                yield from ((f"{place} {node.name}", text) for line in parts for text in texts_in(line.value))
            elif isinstance(node, ast.Raise) or (
                isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "echo"
            ):
                yield from ((place, text) for text in texts_in(node))


def sentences(text: str) -> Iterator[str]:
    """Sentences without defaults, examples and commands to run; `code` and {facts} are one word each."""
    text = re.sub(r"\[default:[^\]]*\]|\[required\]", "", text).replace("\b", "")
    text = re.sub(r"`[^`]*`|\{[^}]*\}", "X", text)
    for block in re.split(r"\n\s*\n", text):
        if not block.strip().startswith(("Example", "$")):
            block = re.sub(r"(Run|Example|Use it): .*", "", block)
            yield from (
                part.strip() for part in re.split(r"(?<=[.?!;:])\s+|\n\s*-\s", " ".join(block.split())) if part.strip()
            )


def faults(text: str) -> list[str]:
    found = [
        f"'{phrase}': {remedy}"
        for phrase, remedy in RULES["words"].items()
        if re.search(rf"\b{phrase}\b", " ".join(text.lower().split()))
    ]
    found += [
        f"{len(words)} words: {' '.join(words)}"
        for one in sentences(text)
        if len(words := one.split()) > RULES["longest"]
    ]
    return found


@pytest.mark.parametrize("texts", [help_texts, error_texts])
def test_words(texts):
    wrong = {f"{place}: {text[:20]}": why for place, text in texts() if (why := faults(text))}
    assert not wrong, "\n".join(f"{place}: {'; '.join(why)}" for place, why in wrong.items())


VAGUE = {"found", "known", "one", "given", "told", "had"}


def test_names_say_what_the_value_is():
    """A noun; ``known`` is also a part of an error's text (`ser_base.errors.SerError`)."""
    vague = []
    for path, tree in trees():
        fields: set[int] = set()
        for node in ast.walk(tree):  # a class before what is in it
            name = None
            if isinstance(node, ast.ClassDef):
                fields |= {id(name) for line in node.body for name in ast.iter_child_nodes(line)}
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                name = node.id if isinstance(node, ast.Name) else node.attr
            elif isinstance(node, ast.arg):
                name = node.arg
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = node.name
            if name in VAGUE and not (name == "known" and id(node) in fields):
                vague.append(f"{path}:{getattr(node, 'lineno', 0)}: {name}")
    assert not vague, vague


def test_sentences_of_pages_are_short():
    example = "# A\n\nOne `a b`. Two [c d](e) f:\n\n- three\n- four g\n| t u |\n"
    assert [len(part.split()) for part in PROSE["sentences"](example)] == [2, 4, 1, 2]
    assert len(PROSE["PAGES"]) > 24 and not (long := list(PROSE["long_sentences"]())), "\n".join(long)
