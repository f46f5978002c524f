"""Plain English on the pages: ``python docs/prose.py`` lists what proselint and our rules object to, and then ends with 1.

Our words, the longest sentence, and what is switched off: ``[tool.prose]`` in ``pyproject.toml``. `tests/test_words.py` asks
the same of help and errors.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["prose"]
NOT_PROSE = re.compile(r"^```.*?^```$|<!--.*?-->|^[ ]*[|>#][^\n]*$", re.MULTILINE | re.DOTALL)


def prose(page: str) -> str:
    """A page line by line, without code, comments, tables, quotes and headings; `code` is one word, a link its text."""
    numbers = count()
    text = NOT_PROSE.sub(lambda part: "\n" * part[0].count("\n"), page)
    text = re.sub(r"`[^`]*`", lambda part: f"X{next(numbers)}" + "\n" * part[0].count("\n"), text)
    return re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)


def sentences(page: str) -> Iterator[str]:
    """The sentences of a page; a list item begins a new one."""
    for block in re.split(r"\n\s*\n|^ *(?:[-*]|\d+\.)(?= )", prose(page), flags=re.MULTILINE):
        yield from filter(None, re.split(r"(?<=[.?!])[)\"*]*\s+(?=[^a-z])", " ".join(block.split())))


def long_sentences() -> Iterator[str]:
    """Page, number of words and text of every sentence that is too long."""
    for path in PAGES:
        for sentence in sentences(path.read_text(encoding="utf-8")):
            if (words := len(sentence.split())) > RULES["longest"]:
                yield f"{path.relative_to(ROOT)}: {words} words: {sentence}"


def objections() -> Iterator[str]:
    """Page, line, rule and remedy of everything that proselint objects to, our words included."""
    from proselint.checks import __register__
    from proselint.config import DEFAULT
    from proselint.registry import CheckRegistry
    from proselint.registry.checks import Check, engine, types
    from proselint.tools import LintFile

    words = types.PreferredForms({phrase.replace(" ", r"\s+"): remedy for phrase, remedy in RULES["words"].items()})
    ours = Check(words, engine.Fancy(), "words", "Not '{1}': {0}.")
    CheckRegistry().register_many((*__register__, ours))
    checks = {**dict.fromkeys(RULES["off"], False), **DEFAULT["checks"], "words": True}
    for path in PAGES:
        text = prose(path.read_text(encoding="utf-8"))
        for result in LintFile(path, text).lint({**DEFAULT, "checks": checks}):
            rule, message = result.check_result[:2]
            yield f"{path.relative_to(ROOT)}:{result.pos[0]}: {rule}: {message}"


def main() -> int:
    """Prints the list.

    Returns:
        The exit code.
    """
    wrong = [*long_sentences(), *objections()]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
