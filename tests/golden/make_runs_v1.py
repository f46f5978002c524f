"""Made tests/golden/runs-v1; run once, at format version 1 of run directories.

Later versions add folders of their own and never touch these.

    cd FOLDER && python .../tests/golden/make_runs_v1.py

A cache of random frames in which both streams carry the label, and run directories on it, made by ``ser-fuse`` as a user
makes them. Only the width of the heads is smaller than the preset's, so that the weights stay small. Reports and plots are
left out: they are made again from the rest. ``hub`` is the export of one row.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ser_cache import EntrySpec, Item, Row, create_cache
from ser_data.manifest.table import CorpusInfo, Manifest

CLASSES = ("angry", "neutral", "sad")
UTTERANCES, SPEAKERS, WIDTH = 36, 6, 16
AUDIO = {"modality": "audio", "encoder": "golden/speech", "dtype": "float16", "features": 6, "frame_rate": 50.0}
TEXT = {"modality": "text", "encoder": "golden/text", "dtype": "float32", "features": 5}
RUNS = {  # folder: what is asked of ser-fuse
    "heads": "--fusion audio,self,cross,late-calibrated --layer all --seeds 0,1 --ensemble seeds --named-head self",
    "mdre": "--fusion mdre --audio-layer 2",
    "as-found": "--fusion cross,bilinear --preset as-found --audio-layer last --text-layer last --pooling concat",
    "tuned": "--fusion concat --tune 2 --sampler random --inner 2 --audio-layer 1 --classifier lda",
    "vad": "--fusion cross --task vad --audio-layer 2",
    "beside": "--fusion concat --vad-weight 0.5 --context 1 --audio-layer 2",
}
LEFT_OUT = ("report.html", "tables", "plots", ".judging")
TOO_LARGE = (
    "mdre/jobs/mdre/fold1-seed0",
    "mdre/jobs/mdre/fold2-seed0",
)  # 1.2 MB each, whatever the width of the frames


def table() -> pd.DataFrame:
    """Six speakers in three sessions, three classes, ratings that follow the class; utterances of a speaker are a dialogue."""
    numbers = np.arange(UTTERANCES)
    speakers, target = numbers % SPEAKERS, (numbers // SPEAKERS) % len(CLASSES)
    noise = np.random.default_rng(1).normal(scale=0.3, size=(2, UTTERANCES))
    return pd.DataFrame(
        {
            "id": [f"u{n:02d}" for n in numbers],
            "corpus": "golden",
            "label": [CLASSES[n] for n in target],
            "speaker": [f"s{n}" for n in speakers],
            "session": [f"{n // 2 + 1}" for n in speakers],
            "gender": ["female" if n % 2 else "male" for n in speakers],
            "dialogue": [f"d{n}" for n in speakers],
            "turn": numbers // SPEAKERS,
            "start": numbers // SPEAKERS * 2.0,
            "end": numbers // SPEAKERS * 2.0 + 1.5,
            "duration": 1.5,
            "text": [f"words of utterance {n}" for n in numbers],
            "valence": np.array([1.5, 3.0, 2.0])[target] + noise[0],
            "arousal": np.array([4.5, 3.0, 1.5])[target] + noise[1],
        }
    )


def make_cache(path: Path) -> None:
    """Two layers of speech and one of text; frames are noise plus a direction for the class."""
    from ser_data.manifest.text import text_hash

    draw, manifest = np.random.default_rng(0), table()
    cache = create_cache(path)
    info = CorpusInfo(name="golden", title="Golden corpus of random frames", licence="none", synthetic=True)
    cache.attach("manifest.parquet", Manifest(manifest, info).to_bytes())
    for stream, layer in ((AUDIO, 1), (AUDIO, 2), (TEXT, 6)):
        spec = EntrySpec(layer=layer, declared={"made": "by make_runs_v1.py"}, **stream)
        writer = cache.writer(spec, container="hdf5")
        rows = {}
        for name, label in zip(manifest["id"], manifest["label"], strict=True):
            frames = draw.normal(size=(3 + len(rows) % 7 + (stream is TEXT), spec.features))
            frames[:, CLASSES.index(label)] += layer / 2
            special = None if spec.frame_rate else np.isin(np.arange(len(frames)), (0, len(frames) - 1))
            rows[name] = Row(name, frames.astype(spec.dtype), special)
        hashes = dict(zip(manifest["id"], (text_hash(text) for text in manifest["text"]), strict=True))
        writer.plan(Item(n, hashes[n] if stream is TEXT else f"x{n}", 1.5, len(row.values)) for n, row in rows.items())
        for shard in writer.pending():
            writer.commit(shard, [rows[item.id] for item in shard.items], {}, {})


def make_runs() -> None:
    """The runs of ``RUNS`` and the export, below the working directory."""
    from click.testing import CliRunner

    from ser_fusion.cli.fuse import command
    from ser_fusion.runs import planning
    from ser_fusion.training.presets import PRESETS
    from ser_predict import Predictor

    preset = PRESETS["corrected"]
    narrow = {**PRESETS, "corrected": replace(preset, shape=replace(preset.shape, width=WIDTH))}
    planning.PRESETS = narrow  # type: ignore[assignment]
    for name, options in RUNS.items():
        asked = f"--cache cache --out {name} --protocol session --epochs 3 --batch 8 --workers 0 --device cpu {options}"
        done = CliRunner().invoke(command, asked.split())
        assert done.exit_code == 0, (done.output, done.exception)
    Predictor("heads", row="self-stats", encoders=False).save_pretrained("hub")
    for name in RUNS:
        for path in (*(Path(name) / left for left in LEFT_OUT), *map(Path, TOO_LARGE)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


if __name__ == "__main__":
    make_cache(Path("cache"))
    make_runs()
