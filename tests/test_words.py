"""What people read: help of every command, every error's sentences, and the pages. The rules stand in CONTRIBUTING.md, Language."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ser_base.catalog import resolve
from ser_predict.ser import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ["extract", "fusion", "data", "cache"]
LONGEST = 25
"""Words of a sentence."""
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
NOT_SO = {
    "so many": "say what is counted: 'Maximum number of epochs.'",
    "who gives": "say what the option does",
    "that fails does": "say what the option does",
    "how much harder": "name the quantity: 'Weight of ...'",
    "is not said": "say what is missing and which option gives it",
    "hears nor reads": "say 'without audio or text'",
    "was to stay": "give goal and result",
    "dies for good": "say 'fails permanently'",
    "made up for": "say what to run",
    "anew": "say 'again'",
    "is no(?! longer)": "say 'is not a', 'does not have' or 'is missing'",
    "are no(?! longer)": "say 'are not', 'does not have' or 'are missing'",
    "is told": "say what is printed, or who is asked",
    "was told": "say what is printed, or who is asked",
}


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
        for phrase, remedy in NOT_SO.items()
        if re.search(rf"\b{phrase}\b", " ".join(text.lower().split()))
    ]
    found += [
        f"{len(words)} words: {' '.join(words)}" for one in sentences(text) if len(words := one.split()) > LONGEST
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


NOT_PROSE = re.compile(
    r"^```.*?^```$"  # code
    r"|<!--.*?-->"
    r"|^[ ]*[|>#][^\n]*$"  # tables, quotes and headings
    r"|^[ ]*(?:[-*]|\d+\.)(?=[ ])",  # a list item begins a text of its own
    re.MULTILINE | re.DOTALL,
)


def prose(page: str) -> Iterator[str]:
    """Sentences of a page; `code` is one word, a link its text. Unlike in a help, only full stops end one."""
    text = re.sub(r"`[^`]*`", "X", NOT_PROSE.sub("\n\n", page))
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    for block in re.split(r"\n\s*\n", text):
        yield from filter(None, re.split(r"(?<=[.?!])[)\"*]*\s+(?=[^a-z])", " ".join(block.split())))


def test_sentences_of_pages_are_short():
    example = "# A\n\nOne `a b`. Two [c d](e) f:\n\n- three\n- four g\n"
    assert [len(part.split()) for part in prose(example)] == [2, 4, 1, 2]
    long = [
        f"{page.relative_to(ROOT)}: {len(words)} words: {' '.join(words)}"
        for page in PAGES
        for sentence in prose(page.read_text(encoding="utf-8"))
        if len(words := sentence.split()) > LONGEST
    ]
    assert len(PAGES) > 24 and not long, "\n".join(long)
