"""What else one could keep features in, for bench_cache.py.

Each function stores the utterances and returns a reader of the chosen ones. A rival that is not installed raises ImportError before it writes anything.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Contestant = Callable[[], Any]


class Source(Protocol):
    """The utterances to store."""

    folder: Path
    ids: list[str]
    utterances: int
    features: int

    def row(self, number: int) -> np.ndarray: ...


def npy_files(bench: Source, chosen: list[str], buffer: np.ndarray) -> Contestant:
    folder = bench.folder / "npy"
    folder.mkdir()
    for number, name in enumerate(bench.ids):
        np.save(folder / f"{name}.npy", bench.row(number))

    def read() -> None:
        for name in chosen:
            values = np.load(folder / f"{name}.npy")
            buffer[: len(values)] = values

    return read


def hf_datasets(bench: Source, chosen: list[str], buffer: np.ndarray) -> Contestant:
    import datasets

    features = datasets.Features({"values": datasets.Array2D((None, bench.features), "float16")})

    def rows() -> Any:
        for number in range(bench.utterances):
            yield {"values": bench.row(number)}

    stored = datasets.Dataset.from_generator(rows, features=features, cache_dir=str(bench.folder / "datasets"))
    stored = stored.with_format("numpy")
    index = {name: number for number, name in enumerate(bench.ids)}

    def read() -> None:
        for name in chosen:
            values = stored[index[name]]["values"]
            buffer[: len(values)] = values

    return read


def lhotse_hdf5(bench: Source, chosen: list[str], buffer: np.ndarray) -> Contestant:
    from lhotse.features.io import NumpyHdf5Reader, NumpyHdf5Writer

    with NumpyHdf5Writer(bench.folder / "lhotse.h5") as writer:
        keys = {name: writer.write(name, bench.row(number)) for number, name in enumerate(bench.ids)}
    reader = NumpyHdf5Reader(bench.folder / "lhotse.h5")

    def read() -> None:
        for name in chosen:
            values = reader.read(keys[name])
            buffer[: len(values)] = values

    return read
