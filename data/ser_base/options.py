"""One place for one option: a field of a job model.

The field's name, type, limits, default and `Option` make the option of the command, the check of pydantic, the environment
variable (`SER_` and the name), the key of `ser.toml`, and the row of the table in docs/reference/options.md:

```python
class Job(BaseModel):
    fps: Annotated[float, Option("Frames per second of video.", "streams")] = Field(default=2.0, gt=0, le=60)


@click.command("extract", cls=JobCommand, section="extract", job=Job)
def command(**options): ...
```

`--help` shows the common options, `--help-all` all of them, in panels. No option has a default of its own: what is not given
is left to the job.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import rich_click as click
from click.core import ParameterSource

from ser_base import option_values as values
from ser_base.settings import PartType, SettingsCommand

STRENGTH = (
    ParameterSource.DEFAULT,
    ParameterSource.DEFAULT_MAP,
    ParameterSource.ENVIRONMENT,
    ParameterSource.COMMANDLINE,
)
ALL = "ser.help_all"


@dataclass(frozen=True, slots=True)
class Option:
    """What a field's name, type and default do not say about its option.

    Attributes:
        help: What it does, and when to use it.
        panel: Box of the help in which it stands.
        common: Whether `--help` shows it; else only `--help-all` does.
        default: Words for the default, where the field's own value says nothing.
        metavar: Words for the value.
        choices: Names that may be given.
        read: Reads the value, where the field's type does not say how.
        several: Whether `read` takes all values of an option that is given several times.
        streams: Names of streams, where each may have a value of its own: ``audio=12,text=9``.
        for_all: Whether a value may also stand alone, for all streams.
        former: Earlier spellings; accepted and never shown.
        hidden: Never shown: an earlier option that another one replaces.
    """

    help: str
    panel: str
    common: bool = False
    default: str = ""
    metavar: str | None = None
    choices: Collection[str] = ()
    read: values.Callback | None = None
    several: bool = False
    streams: Collection[str] = ()
    for_all: bool = True
    former: tuple[str, ...] = ()
    hidden: bool = False


class JobOption(click.RichOption):
    """An option that stands in a panel, and shows itself in `--help` or only in `--help-all`.

    Args:
        common: Whether `--help` shows it.
        of_job: Whether it is a field of the job.
        stands_for: Name of the option of which this is an earlier spelling.
    """

    def __init__(
        self, *args: Any, common: bool = False, of_job: bool = False, stands_for: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.common, self.of_job, self.stands_for, self.never = common, of_job, stands_for, self.hidden

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """The whole text, also where an option may be given several times: spaces are part of a folder's name."""
        text = self.resolve_envvar_value(ctx)
        return (text,) if self.multiple and text is not None else super().value_from_envvar(ctx)


class JobCommand(SettingsCommand):
    """A command whose options are the fields of a job.

    Args:
        job: A pydantic model; every field that has an `Option` becomes an option. Further parameters follow.
        panels: Boxes of the help, in order.
    """

    def __init__(
        self, *args: Any, job: Any, panels: Sequence[str], params: list[click.Parameter] | None = None, **kwargs: Any
    ) -> None:
        own = [option for name, field in job.model_fields.items() for option in _options(name, field)]
        more = JobOption(
            ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all, common=True,
            help="Show all options, also those that are seldom needed.",
        )  # fmt: skip
        ours = sorted(own, key=lambda option: panels.index(option.panel) if option.panel in panels else len(panels))
        super().__init__(
            *args,
            params=[*ours, *(params or []), more],
            panels=[click.RichOptionPanel(panel) for panel in panels],
            **kwargs,
        )

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """click's own, of the common options only, unless all are asked for."""
        for option in self.params:
            if isinstance(option, JobOption):
                option.hidden = option.never or not (option.common or ctx.meta.get(ALL))
        super().format_help(ctx, formatter)  # type: ignore[arg-type]


def _show_all(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.meta[ALL] = True
        click.echo(context.get_help(), color=context.color)
        context.exit()


def job_values(context: click.Context) -> dict[str, Any]:
    """What is given for the job: field -> value, without what is not given, earlier spellings under their names of today.

    Flag goes before environment and environment before `ser.toml`, also between two spellings of one option.
    """
    options = {
        option.name: option for option in context.command.params if isinstance(option, JobOption) and option.of_job
    }
    settings = {name: context.params[name] for name in options if context.params[name] is not None}
    for name in list(settings):
        now = options[name].stands_for
        if now is not None:
            value = settings.pop(name)
            if now not in settings or _strength(context, name) > _strength(context, now):
                settings[now] = value
    for name, value in list(settings.items()):
        if isinstance(value, values.Parts):
            del settings[name]
            for field, part in value.items():
                if field not in settings or _strength(context, name) > _strength(context, field):
                    settings[field] = part
    return settings


def _strength(context: click.Context, name: str) -> int:
    source = context.get_parameter_source(name)
    return STRENGTH.index(source) if source in STRENGTH else 0


def spread(job: dict[str, Any], name: str) -> None:
    """Takes a text for each stream apart, as `job_values` does: ``layer`` to ``audio_layer``, ``text_layer``, ...

    Args:
        job: What is given to a model; changed. A field that is there already stays.
        name: The field.
    """
    if isinstance(text := job.get(name), str):
        del job[name]
        for stream, part in values.streams_of(text).items():
            job.setdefault(f"{stream}_{name}" if stream else name, part)


def _options(name: str, field: Any) -> Iterator[JobOption]:
    """The option of a field and its earlier spellings; none if the field has no `Option`."""
    about = next((item for item in field.metadata if isinstance(item, Option)), None)
    if about is None:
        return
    flag = "--" + name.replace("_", "-")
    kind = _kind(field, about)
    is_flag, metavar = kind.pop("on_off", None), kind.pop("metavar", None)
    text = about.help
    if default := about.default or _said(field.get_default(call_default_factory=True)):
        text += f"  [default: {default}]"
    names = f"{flag}/--no-{flag[2:]}" if is_flag == "both" else flag
    if is_flag:
        kind |= {"is_flag": True}
    shown = {"panel": about.panel, "help": text, "metavar": about.metavar or metavar}
    yield JobOption([name, names], **kind, **shown, default=None, common=about.common, hidden=about.hidden, of_job=True)
    for former in about.former:
        yield JobOption([former], **kind, default=None, hidden=True, of_job=True, stands_for=name)


def _said(default: Any) -> str:
    """A default in words; nothing for what is off, empty or required."""
    if default is None or default is False or default in ((), {}) or type(default).__name__ == "PydanticUndefinedType":
        return ""
    items = default if isinstance(default, tuple) else (default,)
    return ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in items)


def _kind(field: Any, about: Option) -> dict[str, Any]:
    """click's type, callback and multiplicity for a field."""
    kinds = _without_none(field.annotation)
    if about.streams:
        return {"multiple": True, "callback": values.per_stream(about.streams, about.read, about.for_all)}
    if about.read is not None:
        return {"callback": about.read, "multiple": about.several}
    if get_origin(kinds) is tuple:
        first, *rest = get_args(kinds)
        if rest != [Ellipsis]:
            return {"type": PartType()}
        reader = {int: values.numbers, float: values.shares}.get(first)
        names = about.choices or (get_args(first) if get_origin(first) is Literal else None)
        return {"multiple": True, "callback": reader or values.words(names), "metavar": "NAMES"}
    if get_origin(kinds) is Literal:
        return {"type": values.Choice([str(name) for name in get_args(kinds)])}
    if kinds is bool:
        return {"on_off": "both" if field.annotation is not bool else "on"}
    if about.choices:
        return {"type": values.Choice(list(about.choices))}
    if get_origin(kinds) is dict:
        return {"callback": values.toml_table, "metavar": "FILE"}
    if kinds in (int, float):
        return {"type": _range(kinds, field.metadata)}
    return {"type": click.Path(path_type=Path)} if kinds is Path else {"type": str}


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        rest = [kind for kind in get_args(annotation) if kind is not NoneType]
        return rest[0] if len(rest) == 1 else annotation
    return annotation


def _range(kind: type, limits: Any) -> "click.ParamType[Any]":
    low = {
        side: getattr(limit, side)
        for limit in limits
        for side in ("ge", "gt", "le", "lt")
        if getattr(limit, side, None) is not None
    }
    if not low:
        return click.INT if kind is int else click.FLOAT
    made = click.IntRange if kind is int else click.FloatRange
    return made(
        min=low.get("ge", low.get("gt")), max=low.get("le", low.get("lt")), min_open="gt" in low, max_open="lt" in low
    )
