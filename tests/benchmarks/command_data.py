"""Data for bench_commands.py: a cache of random features with labels in them, and the same as the .npy files of user_script.py."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import lognorm

from ser_cache import EntrySpec, Item, Row, create_cache
from ser_data.manifest.table import CorpusInfo, Manifest
from ser_data.manifest.text import text_hash

CLASSES = ("ang", "exc", "fru", "hap", "neu", "sad", "sur")
SHARES = (0.15, 0.14, 0.25, 0.08, 0.22, 0.14, 0.02)
SCENES = 15
RATE = 49.95
SHAPES = {  # utterances, features of speech and of text
    "tiny": (500, 16, 16),
    "demo": (709, 384, 384),
    "iemocap": (7_487, 768, 768),
}


def write(folder: Path, shape: str) -> None:
    """`folder/cache`, and `folder/plain` with table.csv and one .npy for each utterance and stream.

    Five sessions of two speakers, fifteen scenarios, seven classes, IEMOCAP's lengths. The class shifts every frame a little, and the
    scenario shifts it too, so that a probe has something to find and an audit something to say.
    """
    count, *features = SHAPES[shape]
    draw = np.random.default_rng(5)
    seconds = draw.permutation(np.clip(lognorm.ppf((np.arange(count) + 0.5) / count, 0.665, scale=3.6), 0.6, 30.0))
    label, scene = draw.choice(len(CLASSES), count, p=SHARES), draw.integers(SCENES, size=count)
    session, second = np.arange(count) % 5 + 1, draw.integers(2, size=count)
    table = pd.DataFrame(
        {
            "id": [f"u{number:05d}" for number in range(count)],
            "corpus": "bench",
            "label": [CLASSES[k] for k in label],
            "session": session.astype(str),
            "speaker": [f"{one}{'FM'[two]}" for one, two in zip(session, second, strict=True)],
            "gender": [("female", "male")[two] for two in second],
            "scenario": [f"scene{one}" for one in scene],
            "dialogue": [f"{one}_scene{two}" for one, two in zip(session, scene, strict=True)],
            "text": [" ".join(f"word{k}" for k in draw.integers(2_000, size=8)) + f" scene{one}" for one in scene],
            "duration": seconds,
        }
    )
    cache = create_cache(folder / "cache")
    cache.attach(
        "manifest.parquet",
        Manifest(table, CorpusInfo(name="bench", title="Random features", licence="none", synthetic=True)).to_bytes(),
    )
    lengths = {"audio": np.round(seconds * RATE), "text": np.clip(np.round(seconds * 2.8 + 2), 3, 120)}
    (folder / "plain").mkdir()
    table.to_csv(folder / "plain" / "table.csv", index=False)
    for (stream, counts), size in zip(lengths.items(), features, strict=True):
        (folder / "plain" / stream).mkdir()
        spec = EntrySpec(
            modality=stream,
            encoder=f"bench/{stream}",
            layer=12,
            dtype="float16",
            features=size,
            frame_rate=RATE if stream == "audio" else None,
            declared={"made": "for a benchmark"},
        )
        writer = cache.writer(spec)
        shift = 0.08 * (draw.normal(size=(len(CLASSES), size))[label] + draw.normal(size=(SCENES, size))[scene])
        tags = [text_hash(text) if stream == "text" else name for name, text in table[["id", "text"]].to_numpy()]
        writer.plan(
            [
                Item(name, tag, float(s), int(n))
                for name, tag, s, n in zip(table["id"], tags, seconds, counts, strict=True)
            ]
        )
        place = {name: number for number, name in enumerate(table["id"])}
        for shard in writer.pending():
            rows = []
            for item in shard.items:
                number = place[item.id]
                frames = draw.standard_normal((int(counts[number]), size), dtype=np.float32) + shift[number]
                frames = frames.astype(np.float16)
                np.save(folder / "plain" / stream / f"{item.id}.npy", frames)
                special = np.isin(np.arange(len(frames)), (0, len(frames) - 1)) if stream == "text" else None
                rows.append(Row(item.id, frames, special))
            writer.commit(shard, rows, {}, {})


def speech(folder: Path, clips: int, seconds: float) -> None:
    """A corpus of `clips` wavs of noise, 16 kHz, `seconds` in all, in lengths like IEMOCAP's."""
    import soundfile
    from bench_extract import RATE, waveforms

    waves = waveforms(clips)
    scale = seconds * RATE / sum(map(len, waves))
    folder.mkdir()
    for number, wave in enumerate(waves):
        soundfile.write(folder / f"u{number:03d}.wav", np.resize(wave, round(len(wave) * scale)), RATE)
    lines = [f"u{number:03d},u{number:03d}.wav,{'ab'[number % 2]}" for number in range(clips)]
    (folder / "corpus.csv").write_text("\n".join(["id,path,label", *lines]) + "\n")
