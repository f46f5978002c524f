"""Does SER Fusion keep its promises on a GPU, and how fast is it there? For a machine with CUDA; at most 8 minutes.

    make gpu-check
    python tests/benchmarks/gpu_check.py [--device cuda:0] [--scale full|tiny] [--minutes 8] [--json FILE] [--table FILE]

Five parts, each of which is left out, and said so, when the time is up:

1. contract: every encoder family of the table, random weights: features of the device in batches against those of the CPU one by
   one. float32 without TF32 must agree within relative L2 1e-5; the error of bfloat16 is recorded.
2. heads: logits and gradients of every head: packed on the device = padded on the device = packed on the CPU.
3. memory: peak while encoding; a batch that does not fit is halved, and the features stay.
4. encoders: audio hours per minute of wav2vec2-base and -large, WavLM-large and Whisper-large-v3 (their architectures, random
   weights, lengths of IEMOCAP, decoded already) in bfloat16: ours against transformers one by one and in padded batches of 32,
   and as a share of what a matrix product reaches.
5. study: minutes of the study's rows x 5 folds x 3 seeds on IEMOCAP's shape by the steps of a second or so of each row, packed
   against padded with a masked kernel.

The exit code is 1 if a promise of parts 1 to 3 is broken. `--scale tiny --device cpu` is what CI runs: it shows that the script
works, and measures nothing.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import bench_extract
import bench_fusion
from bench_extract_exactness import load

from ser_extract.encoders import ENCODERS
from ser_extract.encoders.base import Encoded, EngineOptions, InputOptions
from ser_extract.encoders.source import open_source
from ser_fusion.frames.batches import Packed, pad
from ser_fusion.heads import HEADS
from ser_fusion.heads.base import Head
from ser_fusion.heads.shape import Shape
from ser_fusion.training.plan import Plan, TrainingData
from ser_fusion.training.presets import CORRECTED, STUDY_ROWS, resolve_shape
from ser_fusion.training.train import train

models = load(Path(__file__).parents[1] / "extract" / "conftest.py")  # tiny encoders of every family
RATE = 16_000
EXACT = 1e-5
SMALL = models.AUDIO, models.VARIANTS["whisper"][1]  # speech from the waveform, and Whisper
BASE = {"conv_dim": [512] * 7}
LARGE = BASE | {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}
SPEECH: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2-base": ("wav2vec2", BASE),
    "wav2vec2-large": ("wav2vec2", LARGE),
    "wavlm-large": ("wavlm", LARGE),
    "whisper-large-v3": (
        "whisper",
        {
            "d_model": 1280,
            "encoder_layers": 32,
            "encoder_attention_heads": 20,
            "encoder_ffn_dim": 5120,
            "num_mel_bins": 128,
            "decoder_layers": 1,
        },
    ),
}
Array = np.ndarray[Any, Any]


def engine(folder: Path, **options: Any) -> Any:
    """Our engine at the deepest layer."""
    source = open_source(str(folder), "audio")
    family = ENCODERS[source.model_type]
    description = family.describe(source, InputOptions())
    return family.load(source, description, (description.depth,), EngineOptions(**options))


def apart(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """The greatest relative L2 of two lists of features."""
    worst = 0.0
    for one, other in zip(ours, theirs, strict=True):
        assert isinstance(one, Encoded) and isinstance(other, Encoded), (one, other)
        for layer, state in other.states.items():
            worst = max(worst, float(np.linalg.norm(one.states[layer] - state) / np.linalg.norm(state)))
    return worst


def contract(folder: Path, device: str, tiny: bool) -> dict[str, Any]:
    """Every variant of the encoder contract (one per modality at tiny scale): batches of the device, one by one on the CPU."""
    rows: dict[str, Any] = {}
    random = np.random.default_rng(0)
    clips = [random.integers(0, 256, (frames, 40, 48, 3), dtype=np.uint8) for frames in (1, 4, 2)]
    texts = ["a b c", "the sad", "z", "happy , happy . the sad a b c d e f g h i j", "q r s t u v w"]
    inputs = {"audio": [wave[: RATE * 2] for wave in bench_extract.waveforms(5)], "text": texts, "video": clips}
    batch = {"audio": RATE * 20, "text": 512, "video": 8}
    chosen = {ENCODERS[kind].modality: name for name, (kind, _) in reversed(models.VARIANTS.items())}.values()
    for name in chosen if tiny else models.VARIANTS:
        kind, values = models.VARIANTS[name]
        try:
            path, modality = models.save(folder / name, kind, values), ENCODERS[kind].modality
            given = inputs[modality]
            alone = engine(path, batch=0, engine="stock").encode(given)
            exact, rough = (
                engine(path, device=device, compute=compute, batch=batch[modality], engine="stock").encode(given)
                for compute in ("float32", "bfloat16")
            )
            rows[name] = {"float32": apart(exact, alone), "bfloat16": apart(rough, alone)}
            rows[name]["kept"] = rows[name]["float32"] <= EXACT
        except Exception as error:  # noqa: BLE001  # one family's fault must not hide the others' results
            rows[name] = {"kept": False, "error": f"{type(error).__name__}: {error}"[:300]}
    return rows


def heads(device: str) -> dict[str, Any]:
    """Every head: packed and padded on the device, packed on the CPU."""
    dims = {"audio": 24, "text": 20, "video": 12, "prosody": 10}
    lengths = {"audio": [70, 1, 301, 120], "text": [5, 3, 1, 9], "video": [2, 8, 3, 1], "prosody": [9, 1, 4, 1]}
    shape = Shape(width=32, frame_dropout=0.0, pool_dropout=0.0, attention_heads=4)
    torch.manual_seed(0)
    values = {stream: torch.randn(sum(counts), dims[stream]) for stream, counts in lengths.items()}
    rows: dict[str, Any] = {}
    for name, kind in HEADS.items():
        streams = kind.reads(name, (name,) if name in ("video", "prosody") else ("audio", "text"))
        head = kind({stream: dims[stream] for stream in streams}, 4, shape).eval()
        head.prepare(torch.tensor([0, 0, 1, 2, 3]))
        found = []
        for place, padded in ((device, False), (device, True), ("cpu", False)):
            batch = {s: Packed(values[s].to(place), lengths[s]) for s in streams}
            found.append(answers(head.to(place), {s: pad(f) for s, f in batch.items()} if padded else batch))
        errors = [max(difference(a, b) for a, b in zip(found[0], other, strict=True)) for other in found[1:]]
        rows[name] = {"padded": errors[0], "cpu": errors[1], "kept": max(errors) <= 1e-4}
    return rows


def answers(head: Head, batch: Any) -> list[torch.Tensor]:
    """Logits and gradients, on the CPU."""
    head.zero_grad()
    logits = head(batch)
    logits.square().sum().backward()
    return [logits.detach().cpu(), *(p.grad.cpu() for p in head.parameters() if p.grad is not None)]


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Greatest difference in units of the greatest value."""
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-6))


def memory(folder: Path, device: str) -> dict[str, Any]:
    """Peak while encoding, and features of batches that had to be halved."""
    waves = bench_extract.waveforms(12)
    path = models.save(folder / "memory", "wav2vec2", models.AUDIO)
    model = engine(path, device=device, batch=RATE * 160, engine="stock")
    with peak(device) as held:
        whole = model.encode(waves)
    plain, sizes = model._forward, []

    def small(pieces: Sequence[Any]) -> Any:
        sizes.append(len(pieces))
        if len(pieces) > 2:  # as a card does that is full
            raise torch.OutOfMemoryError
        return plain(pieces)

    model._forward = small
    error = apart(model.encode(waves), whole)
    rows = {"halved": {"batches": sizes, "float32": error, "kept": error <= EXACT, "peak MB": held.get("MB")}}
    if device != "cpu":
        rows["half of a card's memory"] = bounded(engine(path, device=device, batch=RATE * 640, engine="stock"), device)
    return rows


def bounded(model: Any, device: str) -> dict[str, Any]:
    """Features where the card holds half of what a batch takes: the allocator itself refuses, and batches are halved."""
    waves = bench_extract.waveforms(96)
    with peak(device) as free:
        whole = model.encode(waves)
    bound = free["MB"] / 2
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(bound * 1e6 / torch.cuda.mem_get_info(device)[1], device)
    try:
        with peak(device) as held:
            error = apart(model.encode(waves), whole)
    except Exception as fault:  # noqa: BLE001  # it must not hide the other parts' results
        return {"kept": False, "error": f"{type(fault).__name__}: {fault}"[:300]}
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    return {"float32": error, "peak MB": held["MB"], "bound MB": bound, "kept": error <= EXACT and held["MB"] <= bound}


@contextmanager
def peak(device: str) -> Iterator[dict[str, float]]:
    """Fills in the greatest memory of the device within the block."""
    held: dict[str, float] = {}
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
    yield held
    if device != "cpu":
        held["MB"] = torch.cuda.max_memory_allocated(device) / 1e6


def seconds(work: Callable[[], Any], device: str) -> float:
    """Wall seconds, the device's work included, after one run that is not counted."""
    work()
    if device != "cpu":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def product_flops(device: str, size: int) -> float:
    """Operations per second of a bfloat16 matrix product."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    repeats = 20
    return repeats * 2 * size**3 / seconds(lambda: [left @ right for _ in range(repeats)], device)


def encoders(folder: Path, device: str, tiny: bool, deadline: float) -> dict[str, Any]:
    """Audio hours per minute, ours and what one would write."""
    from transformers import AutoModel

    rows: dict[str, Any] = {"a product": {"TFLOPS": product_flops(device, 64 if tiny else 8192) / 1e12}}
    limit = rows["a product"]["TFLOPS"] * 1e12
    waves = bench_extract.waveforms(4 if tiny else 256)
    hours = sum(map(len, waves)) / RATE / 3600
    for name, (kind, options) in SPEECH.items():
        if time.monotonic() > deadline:
            rows[name] = {"skipped": "the time was up"}
            continue
        path = models.save(folder / name, kind, SMALL[kind == "whisper"] if tiny else options)
        model = engine(path, device=device, compute="bfloat16", engine="stock")
        with peak(device) as held:
            own = seconds(partial(model.encode, waves), device)
        source = open_source(str(path), "audio")
        description = ENCODERS[kind].describe(source, InputOptions())
        work = sum(description.cost(len(wave)) for wave in waves) * 60e9
        rows[name] = {"ours, h/min": hours / own * 60, "share of a product": work / own / limit, **held}
        stock = AutoModel.from_pretrained(path).eval().to(device)
        stock = stock.get_encoder() if kind == "whisper" else stock
        for title, size, few in (("batch 1", 1, waves[:16]), ("padded 32", 32, waves[:64])):
            spent = seconds(partial(plainly, stock, kind, description, few, size, device), device)
            rows[name][f"{title}, h/min"] = sum(map(len, few)) / RATE / 3600 / spent * 60
        del model, stock
    return rows


@torch.inference_mode()
def plainly(model: Any, kind: str, description: Any, waves: Sequence[Array], size: int, device: str) -> None:
    """As one would write it: batches in the order given, padded, bfloat16, every hidden state of the last layer back."""
    for start in range(0, len(waves), size):
        batch = [torch.from_numpy(wave) for wave in waves[start : start + size]]
        if kind == "whisper":
            frames = description.windowing.length // 160
            values = torch.zeros(len(batch), model.config.num_mel_bins, frames)
        else:
            values = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            model(values.to(device)).last_hidden_state.float().cpu()


def study(device: str, tiny: bool, deadline: float) -> dict[str, Any]:
    """Minutes of the study's rows, 5 folds and 3 seeds, from a few steps of each."""
    utterances, features = (40, 16) if tiny else (7_487, 768)
    audio, text = bench_fusion.lengths(utterances, 3.0 if tiny else 30.0)
    streams = {
        "audio": bench_fusion.frames(audio, features),
        "text": bench_fusion.frames(text, features, rate=None),
    }
    targets = np.arange(utterances) % 4
    rows: dict[str, Any] = {}
    totals = {"packed": 0.0, "padded": 0.0}
    for name, (fusion, kind, text_pooling) in STUDY_ROWS.items():
        if time.monotonic() > deadline:
            rows[name] = {"skipped": "the time was up"}
            continue
        pooling = {"single": CORRECTED.single_statistical, "SP": CORRECTED.statistical, "noSP": CORRECTED.plain}[kind]
        own = HEADS[fusion].reads(fusion, tuple(streams))
        shape = resolve_shape(CORRECTED, pooling=pooling, text_pooling=text_pooling, streams=len(own))
        plan = Plan(
            fusion=fusion,
            streams=own,
            shape=shape,
            training=replace(CORRECTED.training, patience=None),
            normalise=CORRECTED.normalise,
            pad_to={},
            classes=4,
            epochs=1,
            seed=(0, 0),
            dropouts=(),
            select="loss",
            class_weights="none",
            device=device,
        )
        fold = utterances * 4 // 5
        steps = replace(plan, epochs=None).lasts(fold) * -(-fold // plan.training.batch)
        some = min(fold, plan.training.batch * 24)
        parts = {"train": np.arange(some), "dev": np.arange(0), "test": np.arange(0)}
        rows[name] = {}
        for title in totals:
            work = partial(train, plan, TrainingData(streams, targets), parts, padded=title == "padded")
            each = seconds(work, device) / -(-some // plan.training.batch)
            rows[name][f"{title}, min"] = each * steps * 5 * 3 / 60
            totals[title] += rows[name][f"{title}, min"]
    rows["all rows, one at a time"] = {f"{title}, min": total for title, total in totals.items()}
    return rows


def table(found: dict[str, Any]) -> str:
    """The parts as Markdown tables."""
    lines = [f"{found['device']}, torch {found['torch']}, {found['seconds']:.0f} s"]
    for part, rows in found["parts"].items():
        lines += ["", f"**{part}**", ""]
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        lines += ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for name, row in rows.items():
            lines.append(f"| {name} | " + " | ".join(shown(row.get(column, "")) for column in columns) + " |")
    return "\n".join(lines) + "\n"


def shown(value: Any) -> str:
    """A number with three digits, anything else as it is."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--scale", choices=("tiny", "full"), default="full")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    tiny, device, began = options.scale == "tiny", options.device, time.monotonic()
    if device != "cpu" and not torch.cuda.is_available():
        print("torch sees no GPU here. --device cpu --scale tiny shows that the script works.")
        return 2
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    deadline = began + options.minutes * 60
    name = platform.processor() or platform.machine() if device == "cpu" else torch.cuda.get_device_name(device)
    parts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        parts["contract"] = contract(folder, device, tiny)
        parts["heads"] = heads(device)
        parts["memory"] = memory(folder, device)
        parts["study"] = study(device, tiny, began + options.minutes * 24)
        parts["encoders"] = encoders(folder, device, tiny, deadline - (0 if tiny else 45))
    found = {"device": name, "torch": torch.__version__, "scale": options.scale, "parts": parts}
    found["seconds"] = round(time.monotonic() - began, 1)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.table:
        options.table.write_text(table(found))
    broken = [f"{part}: {row}" for part, rows in parts.items() for row, one in rows.items() if one.get("kept") is False]
    print("\n".join(["Broken promises:", *broken]) if broken else "Every promise is kept.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
