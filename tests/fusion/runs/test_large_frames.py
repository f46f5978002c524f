"""Frames that memory does not hold: they lie in a file of the run directory, and the results are the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ser_fusion.errors import FramesTooLarge
from ser_fusion.frames import features
from ser_fusion.runs.job import FuseJob
from ser_fusion.runs.run import run


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_those_of_frames_in_memory(
    small_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, workers: int
) -> None:
    def predictions(out: Path) -> pd.DataFrame:
        asked = {"fusion": ("cross",), "layer": "last", "epochs": 1, "stride": 4, "workers": workers, "stack": "none"}
        run(FuseJob(cache=small_cache, out=out, **asked))
        return pd.read_parquet(out / "predictions.parquet")

    usual = predictions(tmp_path / "memory")
    assert "do not fit in memory" not in capsys.readouterr().err
    monkeypatch.setattr(features, "memory_left", lambda: 0)
    pd.testing.assert_frame_equal(predictions(tmp_path / "disk"), usual, check_exact=True)
    assert "do not fit in memory (0.0 GB are free)" in capsys.readouterr().err
    assert not list((tmp_path / "disk").glob(".ser-fuse*"))


def test_neither_memory_nor_disk(tmp_path: Path) -> None:
    arena = features.Arena(tmp_path)
    assert arena.allocate((3,), np.float32).tolist() == [0, 0, 0] and not list(tmp_path.iterdir())
    with pytest.raises(FramesTooLarge, match=r"(?s)take 1000000000\.00 GB.*--stride"):
        arena.allocate((10**9, 10**9), np.uint8)
    arena.close()


def test_several_arrays_share_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers come one by one: together they take no more than one array may."""
    arena, size = features.Arena(tmp_path), 1 << 20
    monkeypatch.setattr(features, "memory_left", lambda: 10 * size - arena._held)
    places = [arena._folder_for(size) for _ in range(10)]
    assert places == [None] * 8 + [tmp_path] * 2
