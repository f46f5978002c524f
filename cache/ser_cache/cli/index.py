"""The commands of ``ser cache`` for very large caches: make the derived index, ask it."""

from pathlib import Path

import rich_click as click

from ser_base.progress import counting
from ser_base.settings import SettingsCommand
from ser_cache.cli.frame import cache_argument, reported, tell
from ser_cache.words import visible

_index = click.option(
    "--index", "path", type=click.Path(path_type=Path), help="SQLite file.  [default: in your own cache directory]"
)


@click.command("index", cls=SettingsCommand)
@cache_argument
@_index
@reported
def make_index(cache: Path, path: Path | None) -> None:
    """Make the derived index of a cache: one local SQLite file. It can be made again at any time."""
    from ser_cache.maintenance.index import Index, build_index

    with counting("index", "entries") as progress:
        made = build_index(cache, path, progress)
    with Index(made) as index:
        for entry in index.entries():
            click.echo(f"{entry['address']}: {entry['utterances']:,} utterances in {entry['commits']:,} commits")
    click.echo(str(made))


@click.command("find", cls=SettingsCommand)
@cache_argument
@click.argument("utterances", nargs=-1, required=True)
@_index
@reported
def find(cache: Path, utterances: tuple[str, ...], path: Path | None) -> int | None:
    """Say where the rows of utterances lie, or why there is none; the index is made if it is missing or out of date.

    Exit code 3: some have no row anywhere.
    """
    from ser_cache.maintenance.index import Index, StaleIndex, build_index, default_path

    place = path or default_path(cache)
    try:
        with Index(place, cache) as index:
            fresh = not index.changed()
    except StaleIndex:
        fresh = False
    if not fresh:
        tell("The index is missing or out of date; making it.")
        with counting("index", "entries") as progress:
            build_index(cache, place, progress)
    absent = False
    with Index(place, cache) as index:
        for name in utterances:
            rows, failures = index.find(name), index.failures(name)
            absent = absent or not rows
            for row in rows:
                click.echo(
                    f"{name}: {row.address}, shard {row.generation:04d}/{row.shard:08d}, "
                    f"frames {row.start:,} to {row.start + row.frames:,}"
                )
            for address, (reason, detail) in failures.items():
                click.echo(visible(f"{name}: {address}, failed: {reason}, {detail}"))
            if not rows and not failures:
                click.echo(f"{name}: no row and no failure")
    return 3 if absent else None


COMMANDS = (make_index, find)
