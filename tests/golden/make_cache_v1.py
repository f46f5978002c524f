"""Made tests/golden/cache-v1-{zarr,hdf5}; run once, at format version 1.

Later versions add folders of their own and never touch these.

    python tests/golden/make_cache_v1.py FOLDER

Value j of frame i of utterance number n in layer l is ``n + i / 8 + j / 64 + l`` (exact in float16); utterance n has n
frames.
"""

import sys
from pathlib import Path

import numpy as np

from ser_cache import EntrySpec, Failure, Item, Row, create_cache
from ser_cache.maintenance.remove import remove_utterances

AUDIO = EntrySpec(
    modality="audio",
    encoder="golden/speech",
    layer=12,
    dtype="float16",
    features=4,
    frame_rate=49.95,
    declared={"weights": "xxh3:00", "rate": 16000, "final_norm": False, "windowing": {"seconds": 30, "overlap": 0}},
)
TEXT = EntrySpec(
    modality="text",
    encoder="golden/text",
    layer=2,
    dtype="float32",
    features=3,
    declared={"tokenizer": "xxh3:11", "case": "ü"},
)
IDS = ("empty", "one", "zwei/é", "three", 'four\n"', "fünf", "failed", "withdrawn")
MANIFEST = b"stands for the corpus manifest"


def rows_of(number: int, spec: EntrySpec) -> np.ndarray:
    """Frames of utterance ``number``."""
    frames, features = np.arange(number)[:, None], np.arange(spec.features)[None, :]
    return (number + frames / 8 + features / 64 + spec.layer).astype(spec.dtype)


def make(root: Path, container: str) -> None:
    """Two entries; the audio one has a second generation, in which the input of ``three`` changed."""
    cache = create_cache(root)
    for spec in (AUDIO, TEXT):
        versions = ({}, {"three": "-changed"}) if spec is AUDIO else ({},)
        for version in versions:
            writer = cache.writer(spec, container=container, recipe=f"ser-extract --corpus golden --layer {spec.layer}")
            writer.plan(
                Item(name, f"hash-{name}{version.get(name, '')}", 40.0, number) for number, name in enumerate(IDS)
            )
            for shard in writer.pending():
                rows = []
                for item in shard.items:
                    number = IDS.index(item.id)
                    special = np.isin(np.arange(number), (0, number - 1)) if spec is TEXT else None
                    if item.id != "failed":
                        rows.append(Row(item.id, rows_of(number, spec), special))
                failures = {"failed": Failure("nan", "made to fail")} if "failed" in {i.id for i in shard.items} else {}
                writer.commit(shard, rows, failures, {"numpy": "any", "threads": 1})
    cache.attach("manifest.parquet", MANIFEST)
    remove_utterances(cache, ["withdrawn"])


if __name__ == "__main__":
    for name in ("zarr", "hdf5"):
        make(Path(sys.argv[1]) / f"cache-v1-{name}", name)
