"""Tables of ``ser cache ls``, ``info`` and ``du``."""

from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from ser_base.command_line import console
from ser_base.safe_text import command, visible, visible_lines
from ser_cache.catalog import Cache, EntryInfo, open_cache
from ser_cache.errors import MissingEntry
from ser_cache.format.ledger import Ledger


def show(table: Table) -> None:
    """Prints to stdout; as wide as the table needs where that is a file or a pipe, so that nothing is cut off."""
    console(highlight=False).print(table)


def entry_rows(path: Path) -> list[dict[str, Any]]:
    """One row per entry: address, containers, counts, bytes."""
    cache = open_cache(path)
    return [_row(cache, info) for info in cache.entries()]


def _row(cache: Cache, info: EntryInfo) -> dict[str, Any]:
    entry = cache.open(info)
    ledger = Ledger.read(info.path, info.fingerprint)
    containers = sorted({commit.container for commit in ledger.commits.values() if commit.container})
    rate = info.spec.frame_rate
    return {
        "entry": info.address,
        "modality": info.spec.modality,
        "encoder": info.spec.encoder,
        "layer": info.spec.layer,
        "dtype": info.spec.dtype,
        "features": info.spec.features,
        "container": "+".join(containers) or "-",
        "utterances": len(entry),
        "frames": entry.total_frames,
        "hours": None if rate is None else entry.total_frames / rate / 3600,
        "failed": len(entry.failures),
        "missing": len(entry.missing),
        "bytes": sum(commit.size for commit in ledger.commits.values()),
        "fingerprint": info.fingerprint,
    }


def entries_table(rows: list[dict[str, Any]]) -> Table:
    """Table of `entry_rows`."""
    table = _table("entry", "container", right=("utterances", "frames", "hours", "failed", "missing", "size"))
    for row in rows:
        hours = "-" if row["hours"] is None else f"{row['hours']:,.2f}"
        counts = [f"{row[name]:,}" for name in ("utterances", "frames")]
        rest = [f"{row[name]:,}" for name in ("failed", "missing")]
        table.add_row(row["entry"], row["container"], *counts, hours, *rest, readable(row["bytes"]))
    return table


def entry_details(path: Path, address: str | None) -> list[dict[str, Any]]:
    """Everything about entries: spec, plans, failures, withdrawn, environments."""
    cache = open_cache(path)
    infos = cache.entries()
    chosen = [info for info in infos if address in (None, info.address)]
    if address is not None and not chosen:
        raise MissingEntry(str(path), address, tuple(info.address for info in infos))
    withdrawn = cache.withdrawn()
    details = []
    for info in chosen:
        ledger = Ledger.read(info.path, info.fingerprint)
        entry = cache.open(info)
        environments: list[Any] = []
        for commit in ledger.commits.values():
            if commit.environment not in environments:
                environments.append(dict(commit.environment))
        details.append(
            {
                **_row(cache, info),
                "declared": dict(info.spec.declared),
                "frame_rate": info.spec.frame_rate,
                "plans": [
                    {
                        "generation": plan.generation,
                        "shards": len(plan.shards),
                        "committed": sum(
                            (plan.generation, number) in ledger.commits for number in range(len(plan.shards))
                        ),
                        "utterances": sum(len(shard.ids) for shard in plan.shards),
                        "recipe": plan.recipe,
                    }
                    for plan in ledger.own_plans()
                ],
                "withdrawn": sum(name in withdrawn for name in ledger.wanted()),
                "failures": {name: failure.reason for name, failure in entry.failures.items()},
                "environments": environments[:10],
            }
        )
    return details


def print_details(details: list[dict[str, Any]]) -> None:
    """Prints `entry_details` for people."""
    lines: list[str] = []
    for each in details:
        hours = "" if each["hours"] is None else f", {each['hours']:.2f} h at {each['frame_rate']:g} frames a second"
        lines += [
            each["entry"],
            f"  {each['encoder']}, layer {each['layer']}, {each['features']:,} x {each['dtype']}, {each['container']}",
            f"  {each['utterances']:,} utterances, {each['frames']:,} frames{hours}, {readable(each['bytes'])}",
            f"  {each['missing']:,} missing, {len(each['failures']):,} failed, {each['withdrawn']:,} withdrawn",
            f"  fingerprint {each['fingerprint']}",
        ]
        lines += [f"  declared {visible(name)}: {visible(value)}" for name, value in each["declared"].items()]
        for plan in each["plans"]:
            done = f"{plan['committed']:,} of {plan['shards']:,} shards committed"
            lines.append(f"  plan {plan['generation']:04d}: {plan['utterances']:,} utterances, {done}")
            if plan["recipe"]:
                lines.append(f"    {command(plan['recipe'])}")
        lines += [
            f"  failed {visible(name)}: {visible(reason)}" for name, reason in list(each["failures"].items())[:10]
        ]
        lines += [f"  environment {visible(environment)}" for environment in each["environments"]]
    print(visible_lines("\n".join(lines)) if lines else "The cache has no entry yet.")


def usage_table(rows: list[dict[str, Any]]) -> Table:
    """Table of `ser_cache.maintenance.gc.usage`."""
    from ser_cache.maintenance.gc import KINDS

    table = _table("entry", right=KINDS)
    for row in rows:
        table.add_row(row["entry"], *(readable(row[name]) for name in KINDS))
    if len(rows) > 1:
        table.add_row("all", *(readable(sum(row[name] for row in rows)) for name in KINDS))
    return table


def readable(size: int) -> str:
    """Bytes for people, in units of 1,000."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"


def _table(*left: str, right: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in left:  # on a narrow terminal the address is folded; a number is never cut
        table.add_column(name, no_wrap=name != "entry", overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table
