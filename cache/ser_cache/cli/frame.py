"""What the commands of ser cache have in common: their argument, their errors, their progress."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ser_cache.words import visible_lines

if TYPE_CHECKING:
    from ser_cache.maintenance.verify import Progress

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
            tell("\n".join([f"Error: {error}", *getattr(error, "__notes__", [])]))
            code = 1
        except BrokenPipeError:
            raise  # the reader has seen enough; click ends quietly
        except OSError as error:
            what = f"{error.filename}: " if error.filename else "writing to standard output failed: "
            tell(f"Error: {what}{error.strerror or error}.")
            code = 1
        except KeyboardInterrupt:
            tell("Interrupted; run the same command again.")
            code = 130
        sys.exit(_written(code or 0))

    return run


def tell(message: str) -> None:
    """A message for people on stderr. Where it is closed or full, nobody asked for messages, and the work goes on."""
    with suppress(OSError, ValueError):
        click.echo(visible_lines(message), err=True)


def _written(code: int) -> int:
    """The exit code, or 1 if what was printed could not be written: a full disk must not pass for a short answer."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if not code:
            tell(f"Error: writing to standard output failed: {error.strerror}.")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python fails on it once more
        return code or 1
    return code


@contextmanager
def progress(title: str, unit: str | None = None) -> "Iterator[Progress]":
    """A bar on a terminal; elsewhere a line each ten per cent of a long run. Counts ``unit``, bytes if it is None."""
    import time

    if sys.stderr is not None and sys.stderr.isatty():
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
            tell(f"{title}: {counted}")
            shown = tenth

    yield line
