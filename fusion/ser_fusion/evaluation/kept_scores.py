"""Scores of a run's rows, kept in the run (``scores.json``): judging one more row scores only that row.

A row's scores follow from its predictions on test and development parts, from utterances, folds and classes, and from code and
versions. All of that is the key under which they are kept. A file that is not as it was written is not used.
"""

import json
from typing import Any

import numpy as np
import pandas as pd
import xxhash

from ser_base.files import write_json
from ser_fusion.errors import RecordBroken
from ser_fusion.evaluation.metrics import UnitCounts
from ser_fusion.evaluation.records import Record, read_record
from ser_fusion.evaluation.run_directory import RunDirectory

FILE = "scores.json"


class Units(Record):
    """Counts of a row by speaker: ``UnitCounts``."""

    kind: str
    units: list[str]
    counts: list[list[list[float]]]
    groups: list[int]


class KeptRow(Record):
    """What judging says of a row by itself, and its counts."""

    key: str
    scores: dict[str, Any]
    counts: Units


class Kept(Record):
    """``scores.json``; ``seal`` is the hash of its rows."""

    seal: str
    rows: dict[str, KeptRow]


class KeptScores:
    """Scores by row.

    Args:
        run: The run.
        made_by: Code and versions that judge.
    """

    def __init__(self, run: RunDirectory, made_by: object) -> None:
        self._path = run.path / FILE
        facts: list[object] = [made_by, run.classes, run.pooled_only]
        for frame in (run.utterances.astype(str), run.folds):
            facts += [list(frame), xxhash.xxh3_128_hexdigest(_hashes(frame, index=True).tobytes())]
        parts = [part for part in (run.predictions, run.development) if part is not None]
        facts += [list(part) for part in parts]
        by_part = [_by_row(part) for part in parts]
        self._keys = {
            slug: xxhash.xxh3_128_hexdigest(repr((facts, [rows.get(slug) for rows in by_part])).encode())
            for slug in by_part[0]
        }
        self._before = self._read()
        self._now: dict[str, Any] = {}

    def get(self, slug: str) -> tuple[dict[str, Any], UnitCounts] | None:
        """A row's scores and counts, if they are kept and what they follow from has not changed."""
        kept = self._before.get(slug)
        if kept is None or kept["key"] != self._keys[slug]:
            return None
        self._now[slug] = kept
        counts = kept["counts"]
        arrays = np.array(counts["counts"], dtype=np.float64), np.array(counts["groups"], dtype=np.int64)
        return kept["scores"], UnitCounts(counts["kind"], tuple(counts["units"]), *arrays)

    def keep(self, slug: str, scores: dict[str, Any], counts: UnitCounts) -> None:
        """Notes a row that was scored; ``scores`` as JSON holds them."""
        units = {"kind": counts.kind, "units": list(counts.units)}
        arrays = {"counts": counts.counts.tolist(), "groups": counts.groups.tolist()}
        self._now[slug] = {"key": self._keys[slug], "scores": scores, "counts": units | arrays}

    def write(self) -> None:
        """Writes what is known of the run's rows now, if it has changed."""
        if self._now != self._before:
            write_json(self._path, {"seal": _seal(self._now), "rows": self._now})

    def _read(self) -> dict[str, Any]:
        try:
            kept = read_record(self._path, Kept)
            rows: dict[str, Any] = kept["rows"]
            return rows if kept["seal"] == _seal(rows) else {}
        except (RecordBroken, RecursionError):
            return {}


def _seal(rows: dict[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(rows, sort_keys=True).encode())


def _hashes(frame: pd.DataFrame, index: bool = False) -> np.ndarray:
    """One 64-bit hash for each row of a table."""
    return pd.util.hash_pandas_object(frame, index=index).to_numpy()


def _by_row(predictions: pd.DataFrame) -> dict[str, str]:
    """A hash of each row of the result table."""
    hashes = _hashes(predictions)
    places = predictions.groupby("row", sort=False).indices
    return {str(slug): xxhash.xxh3_128_hexdigest(hashes[own].tobytes()) for slug, own in places.items()}
