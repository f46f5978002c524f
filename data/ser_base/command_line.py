"""A command whose subcommands are loaded when they are called, and the command line as it was typed."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.catalog import resolve


class LazyGroup(click.RichGroup):
    """A command with subcommands in the order of a table. `--help` loads none of them.

    Args:
        table: Name -> (``"package.module:attribute"``, one line of help).
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (_, line) in table.items():
            self.add_command(click.RichCommand(name=name, short_help=line))
        self._paths = {name: path for name, (path, _) in table.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(self._paths)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """click's own, with the subcommand loaded."""
        name, line, rest = super().resolve_command(ctx, args)
        return name, resolve(self._paths[name]) if name in self._paths else line, rest


def typed(program: str) -> str:
    """The command line as it was typed, quoted for a shell.

    Args:
        program: What stands in front where it was not `ser`, as `ser-fuse`.
    """
    first = "ser" if Path(sys.argv[0]).name == "ser" else program
    return shlex.join([*first.split(), *sys.argv[1:]])
