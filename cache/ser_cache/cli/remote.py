"""The commands of ``ser cache`` for object stores: push and pull."""

from pathlib import Path

import rich_click as click

from ser_base.settings import SettingsCommand
from ser_cache.cli.frame import cache_argument, reported
from ser_cache.cli.frame import progress as progress_of


@click.command("push", cls=SettingsCommand)
@cache_argument
@click.argument("url")
@click.option(
    "--repair",
    is_flag=True,
    help="Read what is on the store, and replace what is damaged there; use it after pull failed.",
)
@reported
def push_cache(cache: Path, url: str, repair: bool) -> None:
    """Upload what a cache on an object store lacks. URL is s3://BUCKET/PREFIX.

    Each shard becomes visible when it is whole, by a conditional PUT; several machines may push at once, and a killed push
    is run again.
    """
    from ser_cache.cli.listing import readable
    from ser_cache.exchange.remote import push

    with progress_of("push", "shards") as progress:
        moved = push(cache, url, progress, repair=repair)
    click.echo(f"{moved.committed:,} shards pushed ({readable(moved.bytes)}), {moved.already:,} were there already.")
    if repair:
        click.echo(f"{moved.replaced:,} damaged shards on the store were replaced.")


@click.command("pull", cls=SettingsCommand)
@click.argument("url")
@click.argument("cache", type=click.Path(path_type=Path))
@click.option("--entry", "entries", multiple=True, help="Address of an entry; may be repeated.  [default: all]")
@click.option("--records", is_flag=True, help="Only plans and commits: enough for ser-extract to do what is missing.")
@reported
def pull_cache(url: str, cache: Path, entries: tuple[str, ...], records: bool) -> None:
    """Download entries from an object store into the local cache CACHE, from which they are read."""
    from ser_cache.cli.listing import readable
    from ser_cache.exchange.remote import pull

    with progress_of("pull", "shards") as progress:
        moved = pull(url, cache, addresses=entries, records=records, progress=progress)
    click.echo(f"{moved.committed:,} shards pulled ({readable(moved.bytes)}), {moved.already:,} were there already.")


COMMANDS = (push_cache, pull_cache)
