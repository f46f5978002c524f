"""What the text of an option means: lists with commas, ranges, shares, i/N, a value for each stream, TOML files.

Each reader is a callback of click: what it cannot read is wrong usage (exit code 2), with what it can read.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import rich_click as click

from ser_base.errors import suggestion

Callback = Callable[[click.Context, click.Parameter, Any], Any]


class Parts(dict[str, Any]):
    """What one option says about several fields: field -> value."""


class Choice(click.Choice[str]):
    """One of several names; another one is refused with the nearest."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What click says, and the nearest name."""
        nearest = suggestion(str(value), (str(choice) for choice in self.choices))
        return f"{super().get_invalid_choice_message(value, ctx)} {nearest}".rstrip()


_STREAM = re.compile(r"\s*([A-Za-z_]+)\s*=(.*)", re.DOTALL)


def separate(value: Any) -> list[str] | None:
    """The items of a list option: given once with commas, several times, or both; None where it is not given."""
    if value is None or value == ():
        return None
    values = value if isinstance(value, list | tuple) else (value,)
    return [item for text in values for item in str(text).split(",")]


def words(allowed: Iterable[str] | None = None) -> Callback:
    """``a,b`` to ``("a", "b")``; names that the table does not have are refused, with the nearest one."""

    def read(context: click.Context, parameter: click.Parameter, value: Any) -> tuple[str, ...] | None:
        items = separate(value)
        if items is None:
            return None
        table = None if allowed is None else tuple(allowed)
        names = tuple(dict.fromkeys(item.strip() for item in items if item.strip()))
        if not names:
            raise click.BadParameter("give at least one name")
        for name in names:
            if table is not None and name not in table:
                raise click.BadParameter(
                    f"'{name}' is not known. {suggestion(name, table)}Known are {', '.join(table)}."
                )
        return names

    return read


def numbers(context: click.Context, parameter: click.Parameter, value: Any) -> tuple[int, ...] | None:
    """``0-2,7`` to ``(0, 1, 2, 7)``."""
    items = separate(value)
    if items is None:
        return None
    picked: list[int] = []
    for item in items:
        first, dash, last = item.strip().partition("-")
        if not first.isdecimal() or (dash and (not last.isdecimal() or int(last) < int(first))):
            raise click.BadParameter(f"'{item}' is not a number or a range; give 0, 0-2 or 0,3,7")
        picked += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(picked))


def shares(context: click.Context, parameter: click.Parameter, value: Any) -> tuple[float, ...] | None:
    """``0.25,0.5,1`` to floats."""
    items = separate(value)
    if items is None:
        return None
    try:
        return tuple(float(item) for item in items)
    except ValueError:
        raise click.BadParameter(f"'{','.join(items)}' is not a list of numbers; give 0.25,0.5,1") from None


def layer(context: click.Context, parameter: click.Parameter, value: Any) -> int | str | None:
    """A layer's number, ``last`` or ``all``."""
    if value is None or value in ("last", "all"):
        return value
    if not str(value).isdecimal():
        raise click.BadParameter(f"'{value}' is not a layer; give a number, last or all")
    return int(value)


def streams_of(text: str) -> dict[str, str]:
    """``12`` to ``{"": "12"}``; ``audio=4,8,text=last`` to ``{"audio": "4,8", "text": "last"}``: a value for each stream."""
    pieces_of: dict[str, list[str]] = {}
    name = ""
    for piece in text.split(","):
        if match := _STREAM.fullmatch(piece):
            name, piece = match[1].lower(), match[2]
        pieces_of.setdefault(name, []).append(piece.strip())
    return {name: ",".join(pieces) for name, pieces in pieces_of.items()}


def per_stream(streams: Iterable[str], item: Callback | None = None, general: bool = True) -> Callback:
    """One value for all streams, or one for each: ``12``, ``audio=12,text=9``; given once or several times.

    Args:
        streams: Their names.
        item: Reads the value of one stream.
        general: Whether a value may stand alone, for all streams.

    Returns:
        A callback; of ``layer`` it makes ``audio_layer``, ``text_layer``, ..., and ``layer`` for all streams.
    """

    def read(context: click.Context, parameter: click.Parameter, value: Any) -> Parts | None:
        values = list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
        texts: dict[str, str] = {}
        for several in values:
            for name, text in streams_of(str(several)).items():
                if name and name not in streams:
                    raise click.BadParameter(
                        f"'{name}' is not a stream. {suggestion(name, streams)}Known are {', '.join(streams)}."
                    )
                if not name and not general:
                    raise click.BadParameter(f"'{text}' names no stream; give {next(iter(streams))}={text}")
                texts[name] = ",".join(filter(None, (texts.get(name), text)))
        fields = {f"{name}_{parameter.name}" if name else str(parameter.name): text for name, text in texts.items()}
        return Parts({name: item(context, parameter, text) if item else text for name, text in fields.items()}) or None

    return read


def toml_table(context: click.Context, parameter: click.Parameter, value: Any) -> dict[str, Any] | None:
    """A TOML file to its tables."""
    if value is None or isinstance(value, dict):
        return value
    import tomllib
    from pathlib import Path

    try:
        return tomllib.loads(Path(value).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.BadParameter(f"{value} cannot be read as TOML ({error})") from None
