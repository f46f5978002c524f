"""What every command line needs: subcommands loaded late, the line as it was typed, the console, the page of options.

python -m ser_base.command_line extract=ser_extract.cli:command fuse=ser_fusion.cli.fuse:command > docs/reference/options.md
"""

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ser_base.catalog import resolve
from ser_base.errors import SerError
from ser_base.options import JobOption
from ser_base.settings import Program

if TYPE_CHECKING:
    from rich.console import Console


class LazyGroup(Program, click.RichGroup):  # type: ignore[misc]  # of the two bases of RichGroup
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
        program: Name of the command where it was not called through `ser`, as `ser-fuse`.
    """
    first = "ser" if Path(sys.argv[0]).name == "ser" else program
    return shlex.join([*first.split(), *sys.argv[1:]])


@contextmanager
def sentences(interrupted: str = "Interrupted.") -> Iterator[None]:
    """Ends a command as its user should see it: an error as its sentences (exit code 1), Ctrl-C as one word (130)."""
    try:
        yield
    except SerError as error:
        raise click.ClickException("\n".join([str(error), *getattr(error, "__notes__", [])])) from error
    except KeyboardInterrupt:
        click.echo(interrupted, err=True)
        sys.exit(130)


ENDLESS = 10_000
"""Columns off a terminal: no cell is cut, wrapped or shortened there."""


def console(**options: Any) -> "Console":
    """A rich console for results on stdout: as wide as the terminal, and without an end in a file or a pipe.

    Args:
        options: As for `rich.console.Console`; a `width` among them is kept.
    """
    from rich.console import Console

    plain = Console(**options)
    return plain if plain.is_terminal or "width" in options else Console(**options, width=ENDLESS)


TOP = """# Options

Every option of the two stages. A field of the job says all about one: it is the option, its check, the variable of the
environment and the key of `ser.toml`. For `--pool-dropout` these are `SER_POOL_DROPOUT` and `pool_dropout` (or `pool-dropout`) in the
table `[fuse]`. A flag goes before the environment, the environment before `ser.toml`, and `ser.toml` before the default. `--help` shows the
options in **bold**, `--help-all` all of them. This page is written by `python -m ser_base.command_line`, and a test compares it.
"""


def options_page(commands: Mapping[str, str]) -> str:
    """Every option of the commands that are made of a job, by panel, as Markdown.

    Args:
        commands: Subcommand -> ``"package.module:attribute"``.
    """
    lines = [TOP]
    for name, path in commands.items():
        command: click.Command = resolve(path)
        options = [option for option in command.params if isinstance(option, JobOption) and option.panel]
        shown = [option for option in options if not option.never]
        lines.append(f"## ser {name}\n")
        for panel in dict.fromkeys(str(option.panel) for option in shown):
            lines += [f"### {panel}\n", "| Option | What it does |", "|---|---|"]
            lines += [_row(option) for option in shown if option.panel == panel]
            lines.append("")
    return "\n".join(lines)


def _row(option: JobOption) -> str:
    value = option.metavar or ("" if option.is_flag else _values(option.type))
    words = f"{'`, `'.join([*option.opts, *option.secondary_opts])}{' ' if value else ''}{value}"
    mark = "**" if option.common else ""
    row = f"| {mark}`{words}`{mark} | {option.help} |"
    return row.replace(" | audio=", r" \| audio=").replace(" | FILE", r" \| FILE")


def _values(kind: "click.ParamType[Any]") -> str:
    if not isinstance(kind, click.Choice):
        return kind.name.split()[0].upper()
    return "NAME" if len(kind.choices) > 5 else "/".join(kind.choices)


if __name__ == "__main__":
    print(options_page(dict(word.split("=", 1) for word in sys.argv[1:])), end="")
