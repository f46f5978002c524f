"""How long is an epoch, and how long is the study's table? Our packed step against what published code does.

One head (projections 768 to 128, self-attention on each stream, cross-attention both ways, 4 heads, residual, LayerNorm,
masked mean + std of the four results, 7 classes; AdamW, batch 32), IEMOCAP's length distribution, float16 frames in memory,
one thread. All variants have the same weights and give the same logits; they are run interleaved, times are process CPU
time, medians over repetitions, scaled to the 6,000 training utterances of a fold.

    python tests/benchmarks/bench_fusion.py --scale full --json runs/bench/bench_fusion.json
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import lognorm
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ser_fusion.frames.features import StreamFrames
from ser_fusion.frames.feed import Feed
from ser_fusion.heads.base import Attention
from ser_fusion.heads.model import Model
from ser_fusion.heads.shape import Shape
from ser_fusion.training.presets import CORRECTED, STUDY_ROWS, resolve_shape

EPOCH, DEVELOPMENT, FOLDS = 6_000, 1_500, 5
RATE = 49.95  # frames per second
SCALES = {  # utterances, features, repetitions, seconds per worker measurement, longest utterance in seconds
    "tiny": (8, 16, 1, 0.2, 3.0),
    "small": (32, 256, 2, 3.0, 30.0),
    "full": (64, 768, 3, 20.0, 30.0),
}
SKIP = {"tiny": 100, "small": 40, "full": 10}  # of the sorted epoch's 200 batches, how many stand for one
TO_REACH = {
    "nn.MultiheadAttention, padded random": 6.0,
    "SDPA, padded random": 3.0,
    "SDPA, padded, sorted by length": 1.2,
}
SHAPE = Shape(width=128, frame_dropout=0.0, pool_dropout=0.0)


def sorted_batches(scale: str) -> dict[str, StreamFrames]:
    """Every n-th batch of 32 of a whole epoch sorted by length: what sorting can do at best, in little memory."""
    _, features, _, _, longest = SCALES[scale]
    audio, text = lengths(EPOCH, longest)
    order = np.argsort(audio, kind="stable").reshape(-1, 30)  # 200 batches
    kept = order[SKIP[scale] // 2 :: SKIP[scale]].reshape(-1)
    return {"audio": frames(audio[kept], features), "text": frames(text[kept], features, rate=None)}


def lengths(count: int, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Frames and tokens of a stratified sample: log-normal, mean 4.49 s, median 3.60 s, 0.6 s to ``longest``."""
    quantiles = (np.arange(count) + 0.5) / count
    seconds = np.clip(lognorm.ppf(quantiles, 0.665, scale=3.60), 0.6, longest)
    order = np.random.default_rng(0).permutation(count)
    tokens = np.clip(np.round(seconds * 2.8 + 2), 3, 120).astype(int)
    return np.round(seconds * RATE).astype(int)[order], tokens[order]


def frames(counts: np.ndarray, features: int, stride: int = 1, rate: float | None = RATE) -> StreamFrames:
    """Random frames of these lengths, float16 as in a cache."""
    counts = -(-counts // stride) if rate else counts
    offsets = np.concatenate([[0], np.cumsum(counts)])
    values = np.random.default_rng(1).standard_normal((offsets[-1], features), dtype=np.float32).astype(np.float16)
    moments = np.zeros((1, len(counts), features), dtype=np.float32)
    content = np.ones(offsets[-1], dtype=bool)
    return StreamFrames((values,), offsets, content, moments, moments, rate and rate / stride)


def make_streams(scale: str, stride: int = 1) -> dict[str, StreamFrames]:
    count, features, _, _, longest = SCALES[scale]
    audio, text = lengths(count, longest)
    return {"audio": frames(audio, features, stride), "text": frames(text, features, rate=None)}


class Rival(nn.Module):
    """The same head as published code writes it: padded batches, ``torch.nn.MultiheadAttention`` or masked SDPA."""

    def __init__(self, ours: Model, multihead: bool) -> None:
        super().__init__()
        self.ours = ours
        self.multihead = nn.ModuleDict()
        if multihead:
            for name, module in ours.named_modules():
                if isinstance(module, Attention):
                    self.multihead[name.replace(".", "/")] = as_torchs(module)

    def attend(self, name: str, module: Attention, query: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        if self.multihead:
            out, _ = self.multihead[name.replace(".", "/")](query, source, source, key_padding_mask=~mask)
        else:
            batch, count, width = query.shape
            k, v = module.key_value(source).chunk(2, -1)
            q, k, v = (
                t.view(batch, -1, module.heads, width // module.heads).transpose(1, 2)
                for t in (module.query(query), k, v)
            )
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
            out = module.out(out.transpose(1, 2).reshape(batch, count, width))
        return module.norm(query + out)

    def forward(self, values: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        head = self.ours.head
        x = {
            s: head.project.linear[s]((v - self.ours.inputs[s].mean[0]) * self.ours.inputs[s].scale[0])
            for s, v in values.items()
        }
        own = {s: self.attend(f"head.attend_self.{s}", head.attend_self[s], x[s], x[s], masks[s]) for s in x}
        both = {}
        for pair, module in head.attend_cross.items():
            target, _, source = pair.partition("<")
            both[pair] = self.attend(f"head.attend_cross.{pair}", module, own[target], own[source], masks[source])
        pooled = []
        for name, frames in {**own, **both}.items():
            mask = masks[name.partition("<")[0]].unsqueeze(2)
            n = mask.sum(1)
            mean = (frames * mask).sum(1) / n
            variance = (((frames - mean.unsqueeze(1)) * mask) ** 2).sum(1) / n
            pooled += [mean, variance.clamp(min=1e-10).sqrt()]
        return head.readout.classify(torch.cat(pooled, 1))


def as_torchs(ours: Attention) -> nn.MultiheadAttention:
    width = ours.query.out_features
    theirs = nn.MultiheadAttention(width, ours.heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)
    return theirs


def padded(streams: dict[str, StreamFrames], rows: np.ndarray) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A padded batch and its masks, straight from memory, as a usual collate function makes it."""
    values, masks = {}, {}
    for name, s in streams.items():
        own = s.lengths[rows]
        values[name] = torch.zeros(len(rows), int(own.max()), s.features)
        masks[name] = torch.arange(int(own.max())) < torch.from_numpy(own)[:, None]
        for n, row in enumerate(rows):
            values[name][n, : own[n]] = torch.from_numpy(s.layers[0][s.offsets[row] : s.offsets[row + 1]])
    return values, masks


def model_for(streams: dict[str, StreamFrames], fusion: str = "self+cross", shape: Shape = SHAPE) -> Model:
    torch.manual_seed(0)
    names = {"audio": ("audio",), "text": ("text",)}.get(fusion, ("audio", "text"))
    return Model(fusion, {s: streams[s].features for s in names}, dict.fromkeys(names, 1), 7, shape, True)


def timed(
    step: Callable[[np.ndarray], Tensor], optimiser: torch.optim.Optimizer, batches: Sequence[np.ndarray]
) -> float:
    """CPU seconds of one pass of forward, backward and update over these batches."""
    began = time.process_time()
    for rows in batches:
        optimiser.zero_grad(set_to_none=True)
        step(rows).backward()
        optimiser.step()
    return time.process_time() - began


def kernels(
    step: Callable[[np.ndarray], Tensor], optimiser: torch.optim.Optimizer, batches: Sequence[np.ndarray]
) -> dict[str, float]:
    """CPU seconds by kind of kernel, from torch's profiler, as shares of the whole."""
    from torch.profiler import ProfilerActivity, profile

    kinds = {"mm": "products", "addmm": "products", "bmm": "products", "copy_": "copies"}
    attention = "_scaled_dot_product_flash_attention_for_cpu"
    kinds |= {attention: "attention, forward", f"{attention}_backward": "attention, backward"}
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        timed(step, optimiser, batches)
    found = dict.fromkeys(kinds.values(), 0.0) | {"rest": 0.0}
    for event in seen.key_averages():
        found[kinds.get(event.key.removeprefix("aten::"), "rest")] += event.self_cpu_time_total
    return {kind: spent / sum(found.values()) for kind, spent in found.items()}


def variants(
    streams: dict[str, StreamFrames],
) -> dict[str, tuple[nn.Module, Callable[[np.ndarray], Tensor], list[np.ndarray]]]:
    """Name -> (model, logits of a batch, batches)."""
    count = len(streams["audio"].offsets) - 1
    rows = np.random.default_rng(3).permutation(count)
    random = [rows[i : i + 32] for i in range(0, count, 32)]
    ours = model_for(streams)
    feed = Feed(streams, ("audio", "text"))
    multihead, plain = Rival(model_for(streams), True), Rival(model_for(streams), False)
    return {
        "packed (ours), random": (ours, lambda r: ours(feed.batch(r)), random),
        "nn.MultiheadAttention, padded random": (multihead, lambda r: multihead(*padded(streams, r)), random),
        "SDPA, padded random": (plain, lambda r: plain(*padded(streams, r)), random),
    }


def largest_difference(streams: dict[str, StreamFrames]) -> float:
    """Largest difference of logits between ours and the rivals on one batch: the comparison is of speed alone."""
    rows = np.arange(min(16, len(streams["audio"].offsets) - 1))
    ours = model_for(streams).eval()
    with torch.no_grad():
        given = ours(Feed(streams, ("audio", "text")).batch(rows))
        rivals = [Rival(ours, flag).eval()(*padded(streams, rows)) for flag in (True, False)]
    return max(float((given - other).abs().max()) for other in rivals)


def flops(streams: dict[str, StreamFrames]) -> float:
    """Least floating-point operations of forward and backward over all utterances, the packed head."""
    width = 128
    total = 0.0
    lengths_of = {name: s.lengths.astype(float) for name, s in streams.items()}
    for name, s in streams.items():
        total += 4 * lengths_of[name].sum() * s.features * width  # no gradient for the input
    for target in streams:
        for source in streams:
            linear = lengths_of[target].sum() * 2 + lengths_of[source].sum() * 2
            total += 6 * linear * width**2
            total += (4 + 10) * (lengths_of[target] * lengths_of[source]).sum() * width
    return total


def gemm_rate() -> float:
    """FLOP/s of one thread on matrices of this size, the best of some."""
    a, b = torch.randn(2048, 768), torch.randn(768, 128)
    best = 0.0
    for _ in range(20):
        began = time.process_time()
        for _ in range(5):
            a @ b
        best = max(best, 5 * 2 * 2048 * 768 * 128 / max(time.process_time() - began, 1e-9))
    return best


def _steps(scale: str, seconds: float, channel: Any) -> None:
    torch.set_num_threads(1)
    streams = make_streams(scale)
    model, feed = model_for(streams), Feed(streams, ("audio", "text"))
    rows = np.arange(min(16, len(streams["audio"].offsets) - 1))
    model(feed.batch(rows)).sum().backward()
    channel.send("ready")
    channel.recv()
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        model(feed.batch(rows)).sum().backward()
        done += 1
    channel.send(done / (time.perf_counter() - began))


def throughput(scale: str, workers: int) -> float:
    """Steps per wall second of so many one-thread processes together."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(workers)]
    processes = [context.Process(target=_steps, args=(scale, SCALES[scale][3], there)) for _, there in pipes]
    for process in processes:
        process.start()
    for here, _ in pipes:
        here.recv()
    for here, _ in pipes:
        here.send("go")
    total = sum(here.recv() for here, _ in pipes)
    for process in processes:
        process.join()
    return total


def table_seconds(scale: str, stride: int) -> dict[str, float]:
    """CPU seconds per epoch (training and development pass) of every trained row of the study's table, scaled."""
    streams = make_streams(scale, stride)
    count = len(streams["audio"].offsets) - 1
    pooling = {"single": "stats", "SP": "stats", "noSP": "mean"}
    out = {}
    for name, (fusion, kind, text_pooling) in STUDY_ROWS.items():
        shape = resolve_shape(CORRECTED, pooling=pooling[kind], text_pooling=text_pooling, streams=2)
        model = model_for(streams, fusion, shape)
        feed = Feed(streams, model.streams)
        optimiser = torch.optim.AdamW(model.parameters())
        batches = np.array_split(np.random.default_rng(0).permutation(count), max(1, count // 32))

        def step(rows: np.ndarray, model: Model = model, feed: Feed = feed) -> Tensor:
            return model.loss(feed.batch(rows), torch.zeros(len(rows), dtype=torch.int64))

        timed(step, optimiser, batches[:1])
        training = timed(step, optimiser, batches)
        began = time.process_time()
        with torch.inference_mode():
            for _, batch in feed.by_length(np.arange(count), 64):
                model(batch)
        out[name] = (training * EPOCH + (time.process_time() - began) * DEVELOPMENT) / count
    return out


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs everything, prints it, and returns the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=list(SCALES), default="small")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    scale = options.scale
    count, features, repetitions, _, _ = SCALES[scale]
    streams = make_streams(scale)
    result: dict[str, Any] = {"scale": scale, "utterances": count, "features": features, "torch": torch.__version__}
    result["largest_difference_of_logits"] = largest_difference(streams)
    steps = variants(streams)
    ordered = sorted_batches(scale)
    in_order = np.arange(len(ordered["audio"].lengths)).reshape(-1, 30)
    shuffled = np.random.default_rng(4).permutation(in_order.size).reshape(-1, 30)
    feed, ours, plain = Feed(ordered, ("audio", "text")), model_for(ordered), Rival(model_for(ordered), False)
    steps["SDPA, padded, sorted by length"] = (plain, lambda r: plain(*padded(ordered, r)), list(in_order))
    steps["packed (ours), random, same utterances as sorted"] = (ours, lambda r: ours(feed.batch(r)), list(shuffled))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repetition in range(repetitions + 1):
        for name, (model, logits, batches) in steps.items():
            optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
            took = timed(lambda rows, logits=logits: logits(rows).square().mean(), optimiser, batches)
            if repetition:  # the first round warms up
                times[name].append(took * EPOCH / sum(len(rows) for rows in batches))
    epoch = {name: statistics.median(values) for name, values in times.items()}
    base = epoch["packed (ours), random"]
    floor = flops(streams) / gemm_rate() * EPOCH / count
    result |= {"seconds_per_epoch": epoch, "flop_floor_seconds": floor}
    shares = {}
    for name in ("packed (ours), random, same utterances as sorted", "SDPA, padded, sorted by length"):
        model, logits, batches = steps[name]
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
        shares[name] = kernels(lambda rows, logits=logits: logits(rows).square().mean(), optimiser, batches)
    result["shares_of_kernels"] = shares
    same = epoch["packed (ours), random, same utterances as sorted"]
    bases = {name: same if "sorted" in name else base for name in epoch}
    result["times_faster"] = {name: epoch[name] / bases[name] for name in TO_REACH}
    result["to_reach"] = TO_REACH
    print(
        f"{count} utterances, {features} features, one thread, CPU seconds per epoch of {EPOCH:,} (median of {repetitions})"
    )
    for name, seconds in epoch.items():
        wanted = f"  (to reach: {TO_REACH[name]})" if name in TO_REACH else ""
        print(f"  {name:50s} {seconds:8.1f} s   ours is {seconds / bases[name]:5.2f} x{wanted}")
    for name, parts in shares.items():
        print(f"  {name}: " + ", ".join(f"{kind} {share:.0%}" for kind, share in parts.items()))
    bare = 1 - shares["SDPA, padded, sorted by length"]["copies"] - shares["SDPA, padded, sorted by length"]["rest"]
    print(f"  sorted SDPA's products and attention alone would be {1 / bare:.2f} times as fast as sorted SDPA")
    print(f"  FLOP floor                                         {floor:8.1f} s   ours is {base / floor:5.2f} x of it")
    print(f"  largest difference of logits between the variants {result['largest_difference_of_logits']:.1e}")
    one, two = throughput(scale, 1), throughput(scale, 2)
    result["two_workers_over_one"] = two / one
    print(
        f"two worker processes do {two / one:.2f} times the steps of one (wall clock; to reach 1.8 on a quiet machine)"
    )
    result["table"] = {}
    workers = min(two / one, 2.0)  # more is what a busy machine says
    for stride in (1, 4, 8):
        rows = table_seconds(scale, stride)
        result["table"][stride] = {"seconds_per_epoch": rows}
        print(
            f"--table study, corrected, --stride {stride}: CPU s per epoch "
            + ", ".join(f"{n} {s:.1f}" for n, s in rows.items())
        )
        for epochs in (10, 25, 50):
            minutes = sum(rows.values()) * FOLDS * epochs / workers / 60
            row = rows["Cross-MHA"] * FOLDS * epochs / workers / 60
            result["table"][stride][f"minutes_{epochs}_epochs"] = minutes
            print(
                f"    {epochs} epochs, {FOLDS} folds, 1 seed, 2 workers: table of ten rows {minutes:.0f} min, "
                f"the row Cross-MHA alone {row:.1f} min (extrapolated from {count} utterances)"
            )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return result


if __name__ == "__main__":
    main(sys.argv[1:])
