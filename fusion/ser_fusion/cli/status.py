"""``ser status``: what is extracted, trained, judged and stale. Nothing heavy is loaded before the command runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from ser_base.command_line import console, sentences
from ser_base.settings import SettingsCommand

if TYPE_CHECKING:
    from ser_data.manifest.table import Manifest
    from ser_fusion.runs.status import Extracted, Trained

_path = click.Path(path_type=Path)


@click.command("status", cls=SettingsCommand, section="status")
@click.argument("folder", type=_path, default=Path("runs"))
@click.option("--cache", type=_path, default=Path("cache"), show_default=True, help="Look at this feature cache.")
@click.option("--corpus", help="Compare the cache with this corpus as it is now. Use it with --root.")
@click.option("--root", type=_path, help="Folder of the corpus; for csv, the file.")
def command(folder: Path, cache: Path, corpus: str | None, root: Path | None) -> None:
    """Show what is extracted, trained and judged, and what is stale; FOLDER holds the runs (default: `runs`).

    Features are stale where a recording or a transcript has changed since they were made. A run is stale where features,
    labels, folds or its own files have changed. With corpus and root in ser.toml it runs bare. Cache and runs stay as they are.

    Example: ser status
    """
    with sentences():
        from ser_base.progress import counting
        from ser_fusion.runs.status import extracted, trained

        manifest = _corpus(corpus, root)
        with counting("Comparing recordings") as tell:
            entries = extracted(cache, manifest, tell)
        runs = trained(folder)
    show(cache, entries, folder, runs)
    if root is not None and not root.exists():
        click.echo(f"The corpus was not compared: {root} does not exist.")
    elif manifest is None:
        click.echo("The corpus was not compared. Give --corpus and --root, or write ser.toml: ser init PATH.")
    elif manifest.dropped:
        click.echo(f"{len(manifest.dropped):,} rows of the corpus are left out: ser data validate {corpus} {root}")
    click.echo(next_step(entries, runs, corpus=manifest is not None))


def _corpus(corpus: str | None, root: Path | None) -> "Manifest | None":
    from ser_data.corpora import CORPORA

    return CORPORA[corpus].read(root) if corpus and root is not None and root.exists() else None


def show(cache: Path, entries: "list[Extracted]", folder: Path, runs: "list[Trained]") -> None:
    """Prints a table of the cache's entries and one of the runs."""
    from rich.table import Table
    from rich.text import Text

    screen = console()
    if entries:
        table = Table(title=f"Extracted ({cache})", title_justify="left", header_style="bold")
        for name in ("entry", "utterances", "failed", "state"):
            table.add_column(name, justify="right" if name in ("utterances", "failed") else "left", overflow="fold")
        for line in entries:
            table.add_row(Text(line.entry), f"{line.done:,}", f"{line.failed:,}", Text(line.state))
        screen.print(table)
    else:
        screen.print(Text(f"Nothing is extracted: {cache} does not exist or holds no features."))
    if runs:
        table = Table(title=f"Trained ({folder})", title_justify="left", header_style="bold")
        for name in ("run", "trainings", "judged", "state"):
            table.add_column(name, justify="right" if name == "trainings" else "left", overflow="fold")
        for run in runs:
            table.add_row(
                Text(str(run.path)), f"{run.done:,} of {run.planned:,}", "yes" if run.judged else "no", Text(run.state)
            )
        screen.print(table)
    else:
        screen.print(Text(f"No run below {folder}."))


def next_step(entries: "list[Extracted]", runs: "list[Trained]", *, corpus: bool) -> str:
    """One line: the command that goes on from here; without a corpus, the one that writes ser.toml."""
    from ser_fusion.runs.status import CURRENT

    if not entries:
        return "Next: ser extract" if corpus else "Next: ser init PATH"
    if any(entry.stale for entry in entries):
        return "Next: ser extract with the same options. It encodes only what is missing, new or changed."
    if not runs:
        return "Next: ser fuse"
    again = next((run for run in runs if run.state.startswith(("not finished", "stale"))), None)
    if again is not None:
        return f"Next: ser fuse --out {again.path}, with its own options"
    if all(run.state == CURRENT for run in runs):
        return "Everything is current."
    return "Everything is extracted, trained and judged. Some states need a look."
