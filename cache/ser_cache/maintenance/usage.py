"""Where the bytes of a cache are."""

from ser_cache.catalog import Cache
from ser_cache.format.ledger import Ledger
from ser_cache.format.tree import check, names, size

KINDS = ("live", "dead", "container", "orphans", "quarantine", "records")


def usage(cache: Cache) -> list[dict[str, object]]:
    """Bytes of each entry, by kind.

    ``live``: frames that readers see. ``dead``: frames that were superseded or withdrawn. ``container``: what Zarr or HDF5
    needs beside the frames (ids, offsets, masks, metadata, padding). ``orphans``: data without a commit. ``quarantine``:
    what a repair moved aside. ``records``: plans, commits and the like.
    """
    check(cache.path)
    found: list[dict[str, object]] = []
    withdrawn = cache.withdrawn()
    for info in cache.entries():
        ledger = Ledger(info.path, info.fingerprint)
        ledger.refresh()
        wanted = {name: value for name, value in ledger.wanted().items() if name not in withdrawn}
        width = info.spec.features * info.spec.itemsize
        live = sum(ledger.commits[key].frames[row] * width for key, row in ledger.rows(wanted).values())
        frames = sum(commit.total * width for commit in ledger.commits.values())
        held = sum(commit.size for commit in ledger.commits.values())
        known = {commit.path for commit in ledger.commits.values()}
        orphans = sum(size(info.path / "data" / name) for name in names(info.path, "data") if name not in known)
        aside = size(info.path / "quarantine")
        parts = (live, frames - live, held - frames, orphans, aside, size(info.path) - held - orphans - aside)
        found.append({"entry": info.address, **dict(zip(KINDS, parts, strict=True))})
    return found
