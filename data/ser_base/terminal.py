"""The console for results: as wide as the terminal, and without an end where a file or a pipe reads."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

ENDLESS = 10_000
"""Columns off a terminal: no cell is cut, wrapped or shortened there."""


def console(**options: Any) -> "Console":
    """A rich console on stdout.

    Args:
        options: As for `rich.console.Console`; a `width` among them is kept.
    """
    from rich.console import Console

    plain = Console(**options)
    return plain if plain.is_terminal or "width" in options else Console(**options, width=ENDLESS)
