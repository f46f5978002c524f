"""The command ``ser cache``: look at a cache, check it, repair it, make room, take utterances out.

Exit codes: 0 good, 1 failed or damaged, 2 wrong usage, 3 readable but rows are missing, 130 interrupted.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from ser_base.progress import counting
from ser_base.safe_text import command, visible, visible_lines
from ser_base.settings import SettingsGroup
from ser_cache.cli.frame import cache_argument as _cache
from ser_cache.cli.frame import json_option as _json
from ser_cache.cli.frame import reported as _reported
from ser_cache.cli.frame import tell as _tell
from ser_cache.cli.transfer import COMMANDS as _TRANSFER


@click.group(cls=SettingsGroup, section="cache")
def main() -> None:
    """List, verify, repair, merge and clean up the feature caches that ser-extract writes.

    CACHE is the directory of the cache. The environment variable SER_CACHE or ser.toml can name it instead.
    """


@main.command("ls")
@_cache
@_json
@_reported
def list_entries(cache: Path, as_json: bool) -> int | None:
    """List the entries of a cache: encoder, layer, number of utterances and frames, size."""
    from ser_cache.cli.listing import entries_table, entry_rows

    _show(entry_rows(cache), entries_table, as_json)
    return None


@main.command()
@_cache
@click.argument("entry", required=False)
@_json
@_reported
def info(cache: Path, entry: str | None, as_json: bool) -> int | None:
    """Show what entries were computed from, and how complete they are.

    ENTRY is an address that `ser cache ls` prints. Without it, all entries are shown.
    """
    from ser_cache.cli.listing import entry_details, print_details

    details = entry_details(cache, entry)
    if as_json:
        import json

        click.echo(json.dumps(details, indent=1))
    else:
        print_details(details)
    return None


@main.command()
@_cache
@click.option(
    "--repair", is_flag=True, help="Move damaged files to quarantine/ and print the command that restores their rows."
)
@click.option(
    "--records",
    is_flag=True,
    help="Check plans, commits and attachments only. Use it for a quick check without reading the features.",
)
@_json
@_reported
def verify(cache: Path, repair: bool, records: bool, as_json: bool) -> int:
    """Read every byte of a cache and name what differs from what was written.

    Exit code 0: the cache is complete. 1: something is damaged, or could not be repaired. 3: nothing is damaged, but
    rows are missing, after an unfinished run or a repair. Do not use --repair while a writer is at work.
    """
    from ser_cache.cli.listing import readable
    from ser_cache.maintenance.repair import repair as mend
    from ser_cache.maintenance.verify import as_json as to_json
    from ser_cache.maintenance.verify import verify as check

    def say(message: str) -> None:
        _tell(message) if as_json else click.echo(visible_lines(message))

    with counting("verify", "bytes") as progress:
        report = check(cache, progress, data=not records)
    if as_json:
        click.echo(to_json(report))
    for finding in report.findings:
        ids = f" ({len(finding.ids):,} utterances)" if finding.ids else ""
        say(f"Damaged: {visible(finding.path)}: {visible(finding.problem)}{ids}")
    say(f"{report.shards:,} shards, {readable(report.bytes)} read: {len(report.findings):,} damaged.")
    for path in report.lacking:
        say(f"Incomplete: {path} is missing; its record is good.")
    if not report.findings and not (repair and report.lacking):
        if report.lacking:
            say(
                "A run was interrupted before it wrote this file, or the file was lost. Add --repair to write it again."
            )
        for address, left in report.unfinished.items():
            say(f"{address}: {len(left):,} planned utterances have no row yet.")
            say(_restoring(report.recipes.get(address)))
        return 3 if report.unfinished or report.lacking else 0
    if not repair:
        say("Nothing was changed. Add --repair to take the damaged shards out of the way.")
        return 1
    problems = mend(cache, report)
    for problem in problems:
        _tell(f"Not repaired: {problem}")
    after = check(cache, data=not records)
    say(f"Repaired: {len(report.findings) - len(problems):,} of {len(report.findings):,}.")
    recipes = {report.recipes.get(finding.entry.name) or finding.recipe for finding in report.findings if finding.entry}
    recipes |= {report.recipes.get(address) for address in after.unfinished}
    lost = sum(len(ids) for ids in after.unfinished.values())
    gone = [finding.path.name for finding in report.findings if finding.kind == "lost"]
    for name in gone:
        say(f"Nothing is left of the entry {name}.")
    if lost or any(finding.kind in ("lost", "attachment") for finding in report.findings):
        say(f"{lost:,} utterances have no row now. To restore them:")
        for recipe in sorted(each for each in recipes if each) or [""]:
            say(_restoring(recipe))
    if after.findings:
        return 1
    return 3 if after.unfinished or gone else 0


def _restoring(recipe: str | None) -> str:
    restore = (
        command(recipe) if recipe else "(run the command that wrote the cache again; it computes only what is missing)"
    )
    return f"  {restore}"


@main.command()
@_cache
@click.option(
    "--older",
    "hours",
    default=24.0,
    show_default=True,
    help="Remove what has not changed for this many hours. Use 0 only if no writer is at work.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@_reported
def gc(cache: Path, hours: float, dry_run: bool) -> int | None:
    """Free disk space: remove leftovers of killed writers, replaced and superseded rows, and the quarantine."""
    from ser_cache.catalog import open_cache
    from ser_cache.cli.listing import readable
    from ser_cache.maintenance.gc import sweep

    swept = sweep(open_cache(cache), hours, dry_run)
    click.echo(
        f"{'Would remove' if dry_run else 'Removed'} {readable(swept.bytes)}: "
        f"{swept.shards:,} shards without a live row, "
        f"{swept.orphans:,} without a commit, {swept.temporary:,} temporary files, {swept.quarantined:,} in quarantine."
    )
    return None


@main.command()
@_cache
@_json
@_reported
def du(cache: Path, as_json: bool) -> int | None:
    """Show how much disk space each entry uses, and for what."""
    from ser_cache.catalog import open_cache
    from ser_cache.cli.listing import usage_table
    from ser_cache.maintenance.gc import usage

    _show(usage(open_cache(cache)), usage_table, as_json)
    return None


@main.command()
@_cache
@click.option("--ids", help="Withdraw these utterances: a file with one id per line, or ids separated by commas.")
@click.option(
    "--undo", is_flag=True, help="Take the withdrawal of these --ids back. The next ser-extract computes them."
)
@click.option("--entry", help="Remove the whole entry with this address (see `ser cache ls`).")
@_reported
def rm(cache: Path, ids: str | None, undo: bool, entry: str | None) -> int | None:
    """Remove utterances or an entry from a cache, with their bytes. Use it when a speaker withdraws.

    Every later run leaves withdrawn utterances out, until --undo. The plans and the attached corpus manifest still name
    them. Remove them from the corpus as well and run ser-extract again: it writes a new manifest.
    """
    if (ids is None) == (entry is None) or (undo and ids is None):
        raise click.UsageError("Give --ids (with or without --undo), or --entry.")
    from ser_cache.catalog import open_cache
    from ser_cache.maintenance.remove import remove_entry, remove_utterances

    opened = open_cache(cache)
    if entry is not None:
        remove_entry(opened, entry)
        click.echo(f"Removed the entry {entry}.")
        return None
    names = _read_ids(str(ids))
    if undo:
        opened.admit(names)
        click.echo(f"{len(names):,} utterances are no longer withdrawn; the next ser-extract computes them.")
        return None
    removed = remove_utterances(opened, names)
    click.echo(
        f"Withdrew {len(removed.ids):,} utterances: {removed.rows:,} rows removed, "
        f"{removed.shards:,} shards written again."
    )
    if opened.attachments():
        click.echo(f"Still as they were: {', '.join('attachments/' + name for name in opened.attachments())}.")
    return None


def _read_ids(text: str) -> list[str]:
    path = Path(text)
    try:
        is_file = path.is_file()
    except OSError:
        is_file = False
    try:
        names = path.read_text("utf-8").split("\n") if is_file else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{text} cannot be read ({error}).", param_hint="--ids") from error
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise click.BadParameter(f"{text!r} names no utterance.", param_hint="--ids")
    return names


def _show(rows: list[dict[str, Any]], table: Callable[[list[dict[str, Any]]], Any], as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps(rows, indent=1))
        return
    from ser_cache.cli.listing import show

    show(table(rows))


for _command in _TRANSFER:
    main.add_command(_command)
