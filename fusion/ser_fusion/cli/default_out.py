"""Where a run goes if nothing says where."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_fusion.runs.job import MACHINERY


def default_out(options: Mapping[str, Any]) -> Path:
    """``runs/<heads>-<8 hex>``: the same options give the same folder, so that the bare command goes on with its own run."""
    import xxhash

    what = options.get("table") or "+".join(
        [*options.get("fusion", ("cross",)), *options.get("classifier", ())][:4]
    ).replace(":", "-")
    told = {name: str(value) for name, value in options.items() if name not in MACHINERY or name == "cache"}
    mark = xxhash.xxh3_64_hexdigest(repr(sorted(told.items())).encode())[:8]
    return Path("runs") / f"{what}-{mark}"
