"""Where the bytes of a cache are."""

from ser_cache.catalog import Cache
from ser_cache.gc import size_of
from ser_cache.ledger import Ledger


def usage(cache: Cache) -> list[dict[str, object]]:
    """Bytes of each entry: live rows, dead rows in live or dead shards, data without a commit, quarantine, records."""
    found: list[dict[str, object]] = []
    withdrawn = cache.withdrawn()
    for info in cache.entries():
        ledger = Ledger(info.path, info.fingerprint)
        ledger.refresh()
        wanted = {name: value for name, value in ledger.wanted().items() if name not in withdrawn}
        width = info.spec.features * info.spec.itemsize
        live = sum(ledger.commits[key].frames[row] * width for key, row in ledger.rows(wanted).values())
        held = sum(commit.size for commit in ledger.commits.values())
        names = {commit.path for commit in ledger.commits.values()}
        data = info.path / "data"
        orphans = sum(size_of(each) for each in data.iterdir() if each.name not in names) if data.is_dir() else 0
        moved = info.path / "quarantine"
        aside = size_of(moved) if moved.is_dir() else 0
        found.append(
            {
                "entry": info.address,
                "live": live,
                "dead": held - live,
                "orphans": orphans,
                "quarantine": aside,
                "records": size_of(info.path) - held - orphans - aside,
            }
        )
    return found
