"""The commands of ``ser cache`` that move features: merge, export, import, and push and pull for object stores."""

from pathlib import Path

import rich_click as click

from ser_base.command_line import typed
from ser_base.progress import counting
from ser_base.safe_text import visible
from ser_base.settings import SettingsCommand
from ser_cache.cli.frame import cache_argument, reported, tell

_path = click.Path(path_type=Path)
_container = click.option(
    "--container",
    type=click.Choice(["zarr", "hdf5"]),
    default="zarr",
    show_default=True,
    help="Container of new shards.",
)


@click.command("merge", cls=SettingsCommand)
@click.argument("sources", nargs=-1, required=True, type=_path)
@click.option("--into", required=True, type=_path, help="Cache to write to. It is created if it does not exist.")
@click.option("--attachments", type=_path, help="Where attachments (corpus manifest) differ, take those of this cache.")
@_container
@reported
def merge_caches(sources: tuple[Path, ...], into: Path, attachments: Path | None, container: str) -> None:
    """Copy the rows of several caches into one. Use it for parts that were extracted on several machines.

    If an utterance has two input hashes, two different recordings share an id: nothing is merged, and the utterances are
    named. A merge that was interrupted can be run again.
    """
    from ser_cache.exchange.merge import merge

    with counting("merge", "rows") as progress:
        merged = merge(
            sources, into, container=container, attachments_of=attachments, recipe=typed("ser cache"), progress=progress
        )
    for address in merged.rows:
        failed = f", {merged.failures[address]:,} failures" if merged.failures[address] else ""
        click.echo(f"{address}: {merged.rows[address]:,} rows written, {merged.kept[address]:,} kept{failed}.")
    if merged.withdrawn:
        click.echo(f"{merged.withdrawn:,} withdrawn utterances stay withdrawn.")


@click.command("export", cls=SettingsCommand)
@cache_argument
@click.option(
    "--to",
    required=True,
    type=_path,
    help="Write to this folder (npz, npz-each) or file (hdf5). Nothing is overwritten.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["npz", "npz-each", "hdf5"]),
    default="npz",
    show_default=True,
    help="Write one .npz per entry (npz), one .npz per utterance (npz-each), or one HDF5 file (hdf5).",
)
@click.option(
    "--entry",
    "entries",
    multiple=True,
    help="Export the entry with this address (see `ser cache ls`). Repeat it for several.  [default: all]",
)
@reported
def export_cache(cache: Path, to: Path, form: str, entries: tuple[str, ...]) -> None:
    """Write features to files for other tools, with what they were computed from."""
    from ser_cache.exchange.export import export

    with counting("export", "rows") as progress:
        written = export(cache, to, form, entries, progress)
    for path in written:
        click.echo(str(path))


@click.command("import", cls=SettingsCommand)
@click.argument("source", type=_path)
@click.option(
    "--cache",
    required=True,
    envvar="SER_CACHE",
    type=_path,
    help="Cache to import into. It is created if it does not exist.",
)
@click.option(
    "--modality", required=True, type=click.Choice(["audio", "text"]), help="What the features were computed from."
)
@click.option(
    "--encoder", required=True, help="Name of the model that computed the features, such as facebook/wav2vec2-base."
)
@click.option(
    "--layer",
    type=click.IntRange(0, 9999),
    default=0,
    show_default=True,
    help="Hidden layer that the features are from.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Number format to store.",
)
@click.option(
    "--frame-rate",
    type=click.FloatRange(0, min_open=True),
    help="Frames per second. Give it for audio: plots and presets need it to count in seconds.",
)
@click.option(
    "--format", "form", type=click.Choice(["npy", "kaldi", "h5"]), help="Format of SOURCE.  [default: from its name]"
)
@click.option("--note", help="Note on where the features come from; it is stored in the entry.")
@click.option(
    "--replace", is_flag=True, help="Replace an entry that was declared differently. Its old rows are hidden at once."
)
@_container
@reported
def import_source(source: Path, cache: Path, **options: object) -> int | None:
    """Import features that another tool wrote: a folder of .npy files, a Kaldi .scp or .ark, or .h5 files.

    SOURCE is the folder or file. The entry is declared as imported, so it never mixes with one that ser-extract
    computed. Give the labels to ser-fuse with --manifest. Exit code 3: some utterances were skipped.
    """
    from ser_cache.exchange.importing import import_features

    if options["modality"] == "audio" and options["frame_rate"] is None:
        tell("Without --frame-rate, plots and presets cannot count in seconds.")
    with counting("import", "utterances") as progress:
        done = import_features(source, cache, recipe=typed("ser cache"), progress=progress, **options)  # type: ignore[arg-type]
    for name, failure in list(done.failures.items())[:10]:
        tell(visible(f"Skipped {name}: {failure.reason}, {failure.detail}."))
    click.echo(
        f"{done.address}: {done.rows:,} rows imported, {done.kept:,} kept, {len(done.failures):,} skipped. "
        "Its provenance is declared as imported."
    )
    return 3 if done.failures else None


@click.command("push", cls=SettingsCommand)
@cache_argument
@click.argument("url")
@click.option(
    "--repair",
    is_flag=True,
    help="Also read the shards on the store and replace damaged ones. Use it after a pull failed.",
)
@reported
def push_cache(cache: Path, url: str, repair: bool) -> None:
    """Upload the shards that an object store does not have yet. URL is s3://BUCKET/PREFIX.

    A shard becomes visible when it is complete. Several machines can push at once, and an interrupted push can be run
    again.
    """
    from ser_cache.cli.listing import readable
    from ser_cache.exchange.remote import push

    with counting("push", "shards") as progress:
        moved = push(cache, url, progress, repair=repair)
    click.echo(f"{moved.committed:,} shards pushed ({readable(moved.bytes)}), {moved.already:,} were there already.")
    if repair:
        click.echo(f"{moved.replaced:,} damaged shards on the store were replaced.")


@click.command("pull", cls=SettingsCommand)
@click.argument("url")
@click.argument("cache", type=click.Path(path_type=Path))
@click.option(
    "--entry",
    "entries",
    multiple=True,
    help="Download the entry with this address. Repeat it for several.  [default: all]",
)
@click.option(
    "--records",
    is_flag=True,
    help="Download plans and commits only. Use it before ser-extract computes what is missing.",
)
@reported
def pull_cache(url: str, cache: Path, entries: tuple[str, ...], records: bool) -> None:
    """Download entries from an object store into the local cache CACHE."""
    from ser_cache.cli.listing import readable
    from ser_cache.exchange.remote import pull

    with counting("pull", "shards") as progress:
        moved = pull(url, cache, addresses=entries, records=records, progress=progress)
    click.echo(f"{moved.committed:,} shards pulled ({readable(moved.bytes)}), {moved.already:,} were there already.")


COMMANDS = (merge_caches, export_cache, import_source, push_cache, pull_cache)
