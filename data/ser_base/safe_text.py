"""Text that comes out of files, made safe for a terminal, a shell and a spreadsheet: anybody may have written it."""

import re
import shlex

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def visible(text: object) -> str:
    """Text on one line in which nothing controls a terminal: what cannot be printed is written as an escape (``\\x1b``)."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text))


def visible_lines(text: object) -> str:
    """The same for a message of several lines."""
    return "\n".join(visible(line) for line in str(text).split("\n"))


def command(recipe: str) -> str:
    """A recorded command line to be copied into a shell: it runs one program, whatever was recorded.

    Each word is quoted, so that nothing in it is expanded, joined to a second command, or sent to the terminal.
    """
    plain = "".join(letter for letter in " ".join(recipe.split()) if letter.isprintable())
    try:
        return shlex.join(shlex.split(plain))
    except ValueError:  # a quote that is not closed
        return shlex.quote(plain)


def cell(text: str) -> str:
    """A CSV cell that no spreadsheet runs and no terminal obeys; plain numbers stay numbers."""
    safe = visible(text)
    return f"'{safe}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _NUMBER.fullmatch(text) else safe
