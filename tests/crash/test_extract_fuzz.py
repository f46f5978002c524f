"""Broken audio through the whole of stage one: every file gives features or a listed failure, and the run ends.

Mutants of wav, flac, ogg and mp3: bytes changed, cut, doubled. A slice by default, 2,000 files with `make crash`.
"""

import csv
import os
import random
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ser_cache import open_cache
from ser_extract.job import ExtractJob
from ser_extract.run import run

FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": None}
MEMORY = 3 << 30
"""Bytes that this process, models and all, may come to."""


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Changes a few bytes (often in the head), cuts, or doubles a part."""
    changed = bytearray(data)
    kind = chance.randrange(4)
    if kind == 0:
        del changed[chance.randrange(len(changed)) :]
    elif kind == 1:
        at = chance.randrange(len(changed))
        changed[at:at] = changed[at // 2 : at]
    reach = min(len(changed), 64) if chance.random() < 0.6 else len(changed)
    for _ in range(chance.randrange(1, 9) if reach else 0):
        changed[chance.randrange(reach)] = chance.randrange(256)
    return bytes(changed)


def fuzz(count: int, folder: Path, speech: Any, tiny_encoder: Path) -> None:
    chance = random.Random(count)
    seeds = {}
    for suffix, subtype in FORMATS.items():
        soundfile.write(folder / f"seed.{suffix}", speech, 16_000, subtype=subtype)
        seeds[suffix] = (folder / f"seed.{suffix}").read_bytes()
    lines = ["id,path,label"]
    for k in range(count):
        suffix = chance.choice(list(seeds))
        (folder / f"{k}.{suffix}").write_bytes(mutate(seeds[suffix], chance))
        lines.append(f"u{k:04d},{k}.{suffix},x")
    (folder / "corpus.csv").write_text("\n".join(lines) + "\n")
    cache = folder / "cache"
    result = run(
        ExtractJob(
            corpus="csv", root=folder / "corpus.csv", cache=cache, audio_encoder=str(tiny_encoder), audio_layer="0",
            workers=0, device="cpu", decode_timeout=10,
        )
    )  # fmt: skip
    entry = open_cache(cache).select(modality="audio")
    with (cache / "failures.csv").open(newline="") as file:
        listed = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert set(entry.ids) | set(listed) == {f"u{k:04d}" for k in range(count)}
    assert not set(entry.ids) & set(listed)
    assert len(listed) > count // 10 and len(entry.ids) > count // 10  # both kinds were met
    assert all(np.isfinite(values).all() for _, values in entry.scan())
    assert result.exit_code == 3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert peak < MEMORY


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=[8] * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture
def wave() -> Any:
    random_source = np.random.default_rng(0)
    return (0.1 * random_source.standard_normal(12_000)).astype(np.float32)


def test_a_slice_of_mutants(tmp_path, wave, encoder):
    fuzz(120, tmp_path, wave, encoder)


@pytest.mark.crash
@pytest.mark.skipif(not os.environ.get("SER_CRASH_FULL"), reason="the full crash suite runs by make crash")
def test_two_thousand_mutants(tmp_path, wave, encoder):
    fuzz(2_000, tmp_path, wave, encoder)
