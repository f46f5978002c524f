"""The page of options: every option of a command that is made of a job, by panel, as Markdown.

python -m ser_base.option_docs extract=ser_extract.cli:command fuse=ser_fusion.cli.fuse:command > docs/reference/options.md
"""

import sys
from collections.abc import Mapping
from typing import Any

import rich_click as click

from ser_base.catalog import resolve
from ser_base.options import JobOption

TOP = """# Options

Every option of the two stages. A field of the job says all about one: it is the option, its check, the variable of the
environment and the key of `ser.toml`. For `--pool-dropout` these are `SER_POOL_DROPOUT` and `pool_dropout` (or `pool-dropout`) in the
table `[fuse]`. A flag goes before the environment, the environment before `ser.toml`, and `ser.toml` before the default. `--help` shows the
options in **bold**, `--help-all` all of them. This page is written by `python -m ser_base.option_docs`, and a test compares it.
"""


def page(commands: Mapping[str, str]) -> str:
    """The page.

    Args:
        commands: Subcommand -> ``"package.module:attribute"``.
    """
    lines = [TOP]
    for name, path in commands.items():
        command: click.Command = resolve(path)
        shown = [
            option for option in command.params if isinstance(option, JobOption) and not option.never and option.panel
        ]
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
    return f"| {mark}`{words}`{mark} | {option.help} |".replace(" | audio=", r" \| audio=").replace(
        " | FILE", r" \| FILE"
    )


def _values(kind: "click.ParamType[Any]") -> str:
    return (
        "NAME"
        if isinstance(kind, click.Choice) and len(kind.choices) > 5
        else "/".join(kind.choices)
        if isinstance(kind, click.Choice)
        else kind.name.split()[0].upper()
    )


if __name__ == "__main__":
    print(page(dict(word.split("=", 1) for word in sys.argv[1:])), end="")
