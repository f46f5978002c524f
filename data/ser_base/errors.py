"""The root of all errors of SER Fusion, and those that every package may raise.

An error is a class with annotated facts and a sentence of three parts, as templates over the facts:

    class MissingRows(FusionError, KeyError):
        cache: str
        ids: tuple[str, ...]
        got = "{ids:n} utterances have no row in {cache}: {ids:3}."
        next = "Run ser-extract again with the same options."

The constructor comes from the facts, as with a dataclass, and every error survives a process pool.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from string import Formatter
from typing import Any, ClassVar, dataclass_transform


def listing(names: Iterable[object], limit: int = 12) -> str:
    """Names joined by commas, at most `limit` of them, with a count of the rest."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - limit:,} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more if texts else "nothing"


def suggestion(name: str, names: Iterable[str]) -> str:
    """`Did you mean 'x'? ` for the closest of these names, or nothing."""
    close = get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'? " if close else ""


class _Sentence(Formatter):
    """`str.format` whose names are an error's facts and properties.

    A sequence takes `n` (its length), `lines` (one name a line, at most 12), or the most names to list. A mapping of
    counts is written as `name 1,234, ...`. A number of bytes takes `gb`: 1.25 GB.
    """

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return getattr(args[0], str(key))

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec == "gb":
            return f"{value / 1e9:.2f} GB"
        if isinstance(value, Mapping) and all(isinstance(count, int) for count in value.values()):
            value = [f"{name} {count:,}" for name, count in value.items()]
        if not isinstance(value, (list, tuple)):
            return format(str(value) if isinstance(value, Mapping) or value is None else value, format_spec)
        if format_spec == "n":
            return f"{len(value):,}"
        if format_spec == "lines":
            more = [f"and {len(value) - 12:,} more"] if len(value) > 12 else []
            return "\n".join(f"  {name}" for name in [*value[:12], *more])
        return listing(value, int(format_spec or len(value)))


_SENTENCE = _Sentence()


@dataclass_transform(eq_default=False)
class SerError(Exception):
    """Something cannot be done as asked.

    Attributes:
        got: What was got, as a template over the facts.
        known: What is known: the allowed values, near names, what is there. May be empty.
        next: What to do next. Empty only where the caller adds it.
    """

    got: ClassVar[str] = ""
    known: ClassVar[str] = ""
    next: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        dataclass(eq=False, repr=False)(cls)

    def __post_init__(self) -> None:
        self.args = tuple(getattr(self, fact.name) for fact in fields(self))  # type: ignore[arg-type]  # what pickle rebuilds it from

    def __str__(self) -> str:
        parts = (_SENTENCE.vformat(part, (self,), {}) for part in (self.got, self.known, self.next))
        return "\n".join(part for part in parts if part)


class UnknownName(SerError, KeyError):
    """A name that stands in no table.

    Attributes:
        kind: What was looked for (`head`, `corpus`, ...).
        name: The name given.
        table: All names of the table.
    """

    kind: str
    name: str
    table: tuple[str, ...]
    got = "unknown {kind} '{name}'."
    known = "{near}Known are {table:40}."

    @property
    def near(self) -> str:
        """The name that was probably meant, as a question."""
        return suggestion(self.name, self.table)


class BadSettings(SerError, ValueError):
    """ser.toml or a scheme file holds something that cannot be used."""

    where: str
    problem: str
    remedy: str
    got = "{where}: {problem}."
    next = "{remedy}"


class PackageMissing(SerError, ImportError):
    """Something asked for needs a package that is not installed.

    Attributes:
        what: What was asked for: an option, a command, a corpus.
        package: The package that it needs.
        extra: The extra of `ser-fusion` that installs it; empty: the package itself is installed.
        problem: Why it cannot be imported.
    """

    what: str
    package: str
    extra: str = ""
    problem: str = "it is not installed"
    got = "{what} needs the package {package}, which cannot be imported: {problem}."
    next = "Run: pip install {wanted}"

    @property
    def wanted(self) -> str:
        return f"'ser-fusion[{self.extra}]'" if self.extra else self.package
