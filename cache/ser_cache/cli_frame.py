"""What the commands of ser-cache have in common: their argument, their errors, their progress."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from ser_cache.verify import Progress

cache_argument = click.argument("cache", envvar="SER_CACHE", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def reported(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turns our own errors into one message without a traceback, and the return value into the exit code."""

    @wraps(command)
    def run(**options: Any) -> None:
        from ser_cache.errors import CacheError

        try:
            code = command(**options)
        except CacheError as error:
            # not a ClickException: its box would break paths and commands that are to be copied
            click.echo("\n".join([f"Error: {error}", *getattr(error, "__notes__", [])]), err=True)
            code = 1
        except KeyboardInterrupt:
            click.echo("Interrupted; run the same command again.", err=True)
            code = 130
        sys.exit(code or 0)

    return run


@contextmanager
def progress(title: str, unit: str | None = None) -> "Iterator[Progress]":
    """A bar on a terminal; elsewhere a line each ten per cent of a long run. Counts ``unit``, bytes if it is None."""
    import time

    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        count = DownloadColumn() if unit is None else MofNCompleteColumn()
        columns = (TextColumn(title), BarColumn(), count, TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    began, shown = time.monotonic(), 0

    def line(done: int, total: int) -> None:
        nonlocal shown
        tenth = 10 * done // max(total, 1)
        if tenth > shown and time.monotonic() - began > 2:
            counted = f"{done:,} of {total:,} {unit}" if unit else f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB"
            click.echo(f"{title}: {counted}", err=True)
            shown = tenth

    yield line
