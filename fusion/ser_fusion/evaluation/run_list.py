"""Finds run directories below a folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ser_fusion.evaluation.errors import NotARun
from ser_fusion.evaluation.run_directory import RunDirectory

DEPTH = 4


@dataclass(frozen=True)
class Listed:
    """One run: what it was, and whether it holds predictions; `problem` where it cannot be read."""

    path: Path
    corpus: str
    protocol: str
    classes: int
    rows: tuple[str, ...]
    seeds: tuple[int, ...]
    folds: str
    problem: str | None = None


def find_runs(folder: str | Path, depth: int = DEPTH) -> Iterator[Listed]:
    """Every folder at most `depth` levels down that holds a run.json, sorted by path; symbolic links are not followed."""
    root = Path(folder)
    if not root.is_dir():
        raise NotARun(str(root), "there is no such folder")
    places = [root]
    for _ in range(depth + 1):
        below = []
        for place in sorted(places):
            if (place / "run.json").is_file():
                yield _listed(place)
            else:
                below += [child for child in place.iterdir() if child.is_dir() and not child.is_symlink()]
        places = below


def _listed(path: Path) -> Listed:
    try:
        run = RunDirectory.open(path).run
    except NotARun as error:
        return Listed(path, "", "", 0, (), (), "", error.reason)
    rows = tuple(str(row["slug"]) for row in run["rows"] if row.get("kind") != "reference")
    return Listed(
        path,
        str(run["corpus"].get("name")),
        str(run["protocol"]),
        len(run["classes"]),
        rows,
        tuple(run.get("seeds", ())),
        str(run["folds_fingerprint"])[:8],
        None if (path / "predictions.parquet").exists() else "no predictions yet",
    )
