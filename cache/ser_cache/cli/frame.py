"""What the commands of ser cache have in common: their argument, their errors."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.progress import say
from ser_base.safe_text import visible_lines

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
    say(visible_lines(message))


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
