"""Options from the environment and from `ser.toml`, the same way for every command.

The order is: flag, then environment (`SER_CACHE` for `--cache`), then `ser.toml` in the working directory, then the
option's own default. In `ser.toml`, keys above the first table are shared by all commands, and a table of the name of a
command holds what only this command takes. `ser cache` has no table, because `cache` is a shared key and TOML allows a name once.

```toml
cache = "runs/cache"
corpus = "iemocap"

[extract]
layer = 12

[fuse]
fusion = "cross"
```

Keys are option names, with dashes or underscores. A key that no option has is an error that says what was probably meant.
Use: `@click.command("fuse", cls=SettingsCommand, section="fuse")`, or `SettingsGroup` for a command with subcommands.
Only the standard library and click are loaded, since this serves `--help`.
"""

import errno
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.errors import BadSettings, listing, suggestion
from ser_base.machine import leave, parse_part

FILE = "ser.toml"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What the system says where nothing more can be written."""
SECTIONS = (
    "data", "extract", "fuse", "probe", "compare", "report", "audit", "runs", "predict", "explain", "live", "export", "transcribe",
    "status",
)  # fmt: skip
# What more than one command takes. A command ignores those that it has no option for.
SHARED = (
    "cache", "corpus", "root", "manifest", "labels", "protocol", "dev", "out", "layer", "device", "seed", "seeds",
    "container", "workers", "offline", "encoder", "audio_encoder", "text_encoder", "video_encoder", "prosody_encoder",
    "audio_layer", "text_layer", "video_layer", "modalities",
)  # fmt: skip


def load_settings(section: str, options: Iterable[str], directory: str | Path = ".") -> dict[str, Any]:
    """What `ser.toml` says for one command.

    Args:
        section: The command's table, one of `SECTIONS`, or `cache`, which takes shared keys only.
        options: Parameter names of the command (of all its subcommands), with underscores.
        directory: Where `ser.toml` may lie.

    Returns:
        Parameter name -> value, shared keys overridden by the section's; empty without a file.

    Raises:
        BadSettings: Not TOML, an unknown key or table, or a key in the wrong place.
    """
    path = Path(directory) / FILE
    if not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadSettings(FILE, f"cannot be read: {error}", "Correct the file, or move it away.") from error
    names = set(options)
    values: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if isinstance(value, dict):
            if name not in SECTIONS:
                tables = listing(f"[{table}]" for table in SECTIONS)
                raise BadSettings(
                    FILE,
                    f"unknown table [{key}]",
                    f"{suggestion(name, SECTIONS)}Tables are {tables}; for several corpora use several folders.",
                )
        elif name in SHARED:
            values[name] = value
        elif name in names and section in SECTIONS:
            raise BadSettings(FILE, f"'{key}' is not shared by all commands", f"Move it into the table [{section}].")
        else:
            remedy = f"{suggestion(name, (*SHARED, *names))}Shared keys are {listing(SHARED, 40)}."
            raise BadSettings(FILE, f"unknown key '{key}'", remedy)
    own = content.get(section, {})
    for key, value in (own if isinstance(own, dict) else {}).items():
        name = key.replace("-", "_")
        if name not in names:
            remedy = f"{suggestion(name, names)}Keys of this table are {listing(sorted(names), 60)}."
            raise BadSettings(FILE, f"unknown key '{key}' in [{section}]", remedy)
        values[name] = value
    return {name: value for name, value in values.items() if name in names}


def parameter_names(command: click.Command) -> set[str]:
    """Names of a command's options and arguments, and of all its subcommands'."""
    names = {parameter.name for parameter in command.params if parameter.name}
    if isinstance(command, click.Group):
        for child in command.commands.values():
            names |= parameter_names(child)
    return names - {"help"}


def _defaults(section: str, command: click.Command) -> dict[str, Any]:
    several = {parameter.name for parameter in command.params if getattr(parameter, "multiple", False)}
    try:
        settings = load_settings(section, parameter_names(command))
        return {
            name: [value] if name in several and not isinstance(value, list) else value
            for name, value in settings.items()
        }
    except BadSettings as error:
        raise click.UsageError(str(error)) from error


class PartType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3 only
    """`2/8`, the second of eight parts of the work, as `(2, 8)`."""

    name = "i/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Fails where the text is not one part of N."""
        try:
            return value if isinstance(value, tuple) else parse_part(str(value))
        except ValueError as error:
            self.fail(f"{error}", param, ctx)


class Program:
    """Makes a command end its process at once when it is done, where a shell has started it (`console_scripts`)."""

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        """click's own with arguments; without any, the process ends here."""
        if args or kwargs:
            return self.main(*args, **kwargs)
        try:
            self.main()
        except SystemExit as end:
            leave(end.code)
        except OSError as error:
            if error.errno not in FULL:
                raise
            where = f"{error.filename}: " if error.filename else ""
            sys.exit(
                f"Error: {where}{error.strerror}.\nMake room or give another place, and run the same command again."
            )


class SettingsCommand(Program, click.RichCommand):
    """A command whose options also come from the environment and from `ser.toml`.

    Args:
        section: The command's table in `ser.toml`; a subcommand takes its group's.
    """

    def __init__(self, *args: Any, section: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """click's own, with environment prefix `SER` and the defaults of `ser.toml`."""
        if not wants_help(args):  # help must come even when ser.toml is broken
            group = parent.command if parent is not None else None
            section = self.section or getattr(group, "section", None)
            extra.setdefault("auto_envvar_prefix", "SER")
            if section is not None:
                owner = group if self.section is None and group is not None else self
                extra.setdefault("default_map", _defaults(section, owner))
        return super().make_context(info_name, args, parent, **extra)


class SettingsGroup(click.RichGroup):
    """A command with subcommands, all of which read the table `section`."""

    command_class = SettingsCommand

    def __init__(self, *args: Any, section: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


def wants_help(args: list[str]) -> bool:
    """Whether `--help` or `--help-all` stands among the arguments, before a `--`."""
    before = args[: args.index("--")] if "--" in args else args
    return "--help" in before or "--help-all" in before
