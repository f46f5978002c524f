"""The root of all errors of SER Fusion, and those that every package may raise.

Facts are the arguments, the sentence is made in `__str__`, so that every error survives a process pool.
"""

from collections.abc import Iterable
from difflib import get_close_matches


def listing(names: Iterable[str], limit: int = 12) -> str:
    """Names joined by commas, at most `limit` of them, with a count of the rest."""
    known = [str(name) for name in names]
    more = f" and {len(known) - limit:,} more" if len(known) > limit else ""
    return ", ".join(known[:limit]) + more if known else "nothing"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`Did you mean 'x'? ` for the closest known name, or nothing."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'? " if close else ""


class SerError(Exception):
    """Something cannot be done as asked; the sentence says what was got, what is known, what to do next."""


class UnknownName(SerError, KeyError):
    """A name that stands in no table.

    Args:
        kind: What was looked for (`head`, `corpus`, ...).
        name: The name given.
        known: All names of the table.
    """

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        super().__init__(kind, name, known)
        self.kind, self.name, self.known = kind, name, known

    def __str__(self) -> str:
        return f"unknown {self.kind} '{self.name}'.\n{suggestion(self.name, self.known)}Known are {listing(self.known, 40)}."


class BadSettings(SerError, ValueError):
    """ser.toml or a scheme file holds something that cannot be used."""

    def __init__(self, where: str, problem: str, remedy: str) -> None:
        super().__init__(where, problem, remedy)
        self.where, self.problem, self.remedy = where, problem, remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}.\n{self.remedy}"
