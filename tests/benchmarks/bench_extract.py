"""How fast is extraction, against what else one could run, and against the machine's own limit?

    python tests/benchmarks/bench_extract.py [--scale tiny|small|full] [--json FILE]

wav2vec2-base and BERT-base architectures with random weights, one torch thread, lengths in the shape of IEMOCAP (log-normal,
mean 4.5 s, 0.6 to 30.3 s). Contestants take turns in one process within each round; the figures are medians, ratios are
medians of the rounds' ratios, of CPU seconds: a busy machine disturbs them less than wall time. Two workers are timed by
the wall and mean nothing on a busy machine. Contestants: (a) transformers at batch 1 with all hidden states; (b) random
batches of 8, padded and masked; (c) a script that reads, encodes and saves one .npy per file, as most projects have it.
The exit code is 0 whether gates and goals are met or not: it is a measurement.
"""

import argparse
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from ser_extract.encoders import ENCODERS
from ser_extract.encoders.base import EngineOptions, InputOptions
from ser_extract.encoders.products import Product
from ser_extract.encoders.source import open_source
from ser_extract.work.units import multiplies_bfloat16

RATE = 16_000
MEAN, MEDIAN, SHORTEST, LONGEST = 4.49, 3.60, 0.6, 30.3
TOKENS_MEAN = 17.0  # and two special ones: 19
Array = np.ndarray[Any, Any]


class Scale:
    """How much is run."""

    def __init__(self, utterances: int, texts: int, rounds: int, speech: dict[str, Any], bert: dict[str, Any]) -> None:
        self.utterances, self.texts, self.rounds, self.speech, self.bert = utterances, texts, rounds, speech, bert


TINY_TEXT = {"hidden_size": 48, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 64}
TINY_SPEECH = {**TINY_TEXT, "conv_dim": [32] * 7}
SCALES = {
    "tiny": Scale(4, 8, 2, TINY_SPEECH, TINY_TEXT),
    "small": Scale(8, 64, 3, {}, {}),
    "full": Scale(24, 128, 5, {}, {}),
}


def lengths(count: int) -> list[int]:
    """Samples of `count` utterances at even quantiles of the log-normal distribution: the same every time."""
    sigma = math.sqrt(2 * math.log(MEAN / MEDIAN))
    normal = statistics.NormalDist(math.log(MEDIAN), sigma)
    seconds = [math.exp(normal.inv_cdf((k + 0.5) / count)) for k in range(count)]
    return [round(min(max(value, SHORTEST), LONGEST) * RATE) for value in seconds]


def waveforms(count: int) -> list[Array]:
    """Noise of these lengths, in an order that is not sorted."""
    random = np.random.default_rng(0)
    sizes = random.permutation(lengths(count))
    return [(0.1 * random.standard_normal(int(size))).astype(np.float32) for size in sizes]


def texts(count: int) -> list[str]:
    """Words of a made-up vocabulary, as many as IEMOCAP's transcripts have tokens."""
    random = np.random.default_rng(1)
    sizes = np.clip(random.lognormal(math.log(TOKENS_MEAN) - 0.32, 0.8, count).round().astype(int), 1, 120)
    return [" ".join(f"w{random.integers(500)}" for _ in range(size)) for size in sizes]


def save_models(folder: Path, scale: Scale) -> tuple[Path, Path]:
    """Random weights as transformers folders."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertModel,
        PreTrainedTokenizerFast,
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Model,
    )
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    speech, text = folder / "wav2vec2-base-random", folder / "bert-base-random"
    Wav2Vec2Model(Wav2Vec2Config(**scale.speech)).save_pretrained(speech)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(speech)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{k}" for k in range(500))]
    BertModel(BertConfig(vocab_size=len(words), **scale.bert)).save_pretrained(text)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(text)
    return speech, text


def ours(folder: Path, layer: int, engine: str = "auto", compute: str = "float32") -> Any:
    """Our engine, cut to a layer."""
    source = open_source(str(folder), "audio")
    family = ENCODERS[source.model_type]
    description = family.describe(source, InputOptions())
    return family.load(source, description, (layer,), EngineOptions(engine=engine, compute=compute))  # type: ignore[arg-type]


class Stock:
    """The stock models, as other projects call them."""

    def __init__(self, speech: Path, text: Path) -> None:
        from transformers import AutoModel, AutoTokenizer, Wav2Vec2FeatureExtractor

        self.model = AutoModel.from_pretrained(speech).eval()
        self.extractor = Wav2Vec2FeatureExtractor.from_pretrained(speech)
        self.bert = AutoModel.from_pretrained(text).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(text)

    @torch.inference_mode()
    def batch_one(self, waves: Sequence[Array]) -> None:
        for wave in waves:
            values = self.extractor(wave, sampling_rate=RATE, return_tensors="pt").input_values
            self.model(values, output_hidden_states=True)

    @torch.inference_mode()
    def batch_eight(self, waves: Sequence[Array]) -> None:
        for start in range(0, len(waves), 8):
            some = [(wave - wave.mean()) / np.sqrt(wave.var() + 1e-7) for wave in waves[start : start + 8]]
            values = torch.zeros(len(some), max(map(len, some)))
            mask = torch.zeros(values.shape, dtype=torch.long)
            for row, wave in enumerate(some):
                values[row, : len(wave)], mask[row, : len(wave)] = torch.from_numpy(wave), 1
            self.model(values, attention_mask=mask, output_hidden_states=True)

    @torch.inference_mode()
    def script(self, files: Sequence[Path]) -> None:
        import soundfile

        for file in files:
            wave, rate = soundfile.read(file, dtype="float32")
            values = self.extractor(wave, sampling_rate=rate, return_tensors="pt").input_values
            np.save(file.with_suffix(".npy"), self.model(values).last_hidden_state[0].numpy())

    @torch.inference_mode()
    def text_one(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.bert(**self.tokenizer(line, return_tensors="pt"), output_hidden_states=True)


def rounds(contestants: dict[str, Callable[[], Any]], count: int) -> dict[str, list[float]]:
    """CPU seconds of each contestant per round; each round begins with another one. One unmeasured round before."""
    names = list(contestants)
    spent: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1, count):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.process_time()
            contestants[name]()
            if turn >= 0:
                spent[name].append(time.process_time() - started)
    return spent


def ratio(spent: dict[str, list[float]], slow: str, fast: str) -> float:
    """Median over the rounds of how many times as fast `fast` is."""
    return statistics.median(one / other for one, other in zip(spent[slow], spent[fast], strict=True))


def gemm_peak(rows: Sequence[int] = (225, 500, 1000)) -> Callable[[], float]:
    """A contestant: GFLOP/s of the block's products on one core, the best of three passes, plain or with weights laid out."""
    pairs = [(torch.randn(n, 768), torch.randn(768, width)) for n in rows for width in (768, 2304, 3072)]
    flops = sum(4 * 2.0 * a.shape[0] * a.shape[1] * b.shape[1] for a, b in pairs)
    kinds = [partial(torch.mm, a, b) for a, b in pairs], [partial(Product(b.T, None), a) for a, b in pairs]

    def run() -> float:
        spent = []
        for products in kinds * 3:
            started = time.process_time()
            for product in products * 4:
                product()
            spent.append(time.process_time() - started)
        return flops / min(spent) / 1e9

    return run


def base_flops(samples: int, layers: int) -> float:
    """Operations of wav2vec2-base for one utterance: two for each multiplication with addition."""
    frames, total, inputs = samples, 0.0, 1
    for kernel, stride in zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True):
        frames = (frames - kernel) // stride + 1
        total += 2.0 * frames * kernel * inputs * 512
        inputs = 512
    total += 2.0 * frames * 512 * 768 + 2.0 * frames * 128 * 48 * 768
    return total + layers * (2.0 * frames * (4 * 768**2 + 2 * 768 * 3072) + 4.0 * frames**2 * 768)


def bert_flops(tokens: int) -> float:
    """Matrix products of BERT-base's 12 blocks for so many tokens; attention, linear in so short texts, is left out."""
    return 12 * 2.0 * tokens * (4 * 768**2 + 2 * 768 * 3072)


def worker(pipe: Connection, folder: Path, waves: list[Array]) -> None:
    """One process of the two: encodes the utterances it is told to, says when it is done."""
    torch.set_num_threads(1)
    engine = ours(folder, 6)
    engine.encode(waves[:1])
    pipe.send("ready")
    while (indices := pipe.recv()) is not None:
        engine.encode([waves[k] for k in indices])
        pipe.send("done")


def two(target: Callable[..., None], *arguments: Any) -> list[Connection]:
    """The pipes of two processes that are ready."""
    pipes = []
    for _ in range(2):
        here, there = get_context("spawn").Pipe()
        get_context("spawn").Process(target=target, args=(there, *arguments), daemon=True).start()
        pipes.append(here)
    for pipe in pipes:
        pipe.recv()
    return pipes


def two_workers(folder: Path, waves: list[Array], count: int) -> float:
    """Median wall-time ratio of one worker to two on the same utterances."""
    pipes = two(worker, folder, waves)
    halves: list[list[int]] = [[], []]  # the longest first, to whoever has less
    for index in sorted(range(len(waves)), key=lambda k: -len(waves[k])):
        min(halves, key=lambda half: sum(len(waves[k]) for k in half)).append(index)
    found = []
    for _ in range(count):
        times = []
        for shares in ([halves[0] + halves[1]], halves):
            started = time.perf_counter()
            for pipe, share in zip(pipes, shares, strict=False):
                pipe.send(share)
            for pipe, _share in zip(pipes, shares, strict=False):
                pipe.recv()
            times.append(time.perf_counter() - started)
        found.append(times[0] / times[1])
    for pipe in pipes:
        pipe.send(None)
    return statistics.median(found)


def text_worker(pipe: Connection, speech: Path, text: Path, lines: list[str]) -> None:
    """One process of the two: encodes all lines, one by one or as we do, whenever it is told to."""
    torch.set_num_threads(1)
    stock, bert = Stock(speech, text), ours(text, 12)
    pipe.send("ready")
    while (how := pipe.recv()) is not None:
        stock.text_one(lines) if how == "one" else bert.encode(lines)
        pipe.send("done")


def text_on_both_cores(speech: Path, text: Path, lines: list[str], count: int) -> float:
    """Median wall-time ratio of batch 1 to ours, two processes each, as `ser-extract` runs: they share the memory's bandwidth."""
    pipes = two(text_worker, speech, text, lines)
    found = []
    for turn in range(-1, count):  # one unmeasured round
        times = {}
        for how in ("one", "ours") if turn % 2 else ("ours", "one"):
            started = time.perf_counter()
            for pipe in pipes:
                pipe.send(how)
            for pipe in pipes:
                pipe.recv()
            times[how] = time.perf_counter() - started
        if turn >= 0:
            found.append(times["one"] / times["ours"])
    for pipe in pipes:
        pipe.send(None)
    return statistics.median(found)


def measure(scale: Scale, folder: Path) -> dict[str, Any]:
    """Everything, as one JSON object."""
    import soundfile

    torch.set_num_threads(1)
    speech, text = save_models(folder, scale)
    waves, lines = waveforms(scale.utterances), texts(scale.texts)
    files = [folder / f"{k}.wav" for k in range(len(waves))]
    for file, wave in zip(files, waves, strict=True):
        soundfile.write(file, wave, RATE)
    stock = Stock(speech, text)
    engines = {layer: ours(speech, layer) for layer in (12, 9, 6)}
    plain, bert = ours(speech, 12, "stock"), ours(text, 12)
    coarse: dict[str, Callable[[], Any]] = {}
    coarse_text: dict[str, Callable[[], Any]] = {}
    if multiplies_bfloat16():
        hears, reads = (ours(model, 12, compute="bfloat16") for model in (speech, text))
        coarse["ours, layer 12, bfloat16"] = lambda: hears.encode(waves)
        coarse_text["text, ours, bfloat16"] = lambda: reads.encode(lines)
    peaks: list[float] = []
    peak = gemm_peak()
    spent = rounds(
        {
            "(a) transformers, batch 1, all hidden states": lambda: stock.batch_one(waves),
            "(b) transformers, random padded batches of 8": lambda: stock.batch_eight(waves),
            "(c) script that saves .npy": lambda: stock.script(files),
            "ours, layer 12": lambda: engines[12].encode(waves),
            "ours, layer 9": lambda: engines[9].encode(waves),
            "ours, layer 6": lambda: engines[6].encode(waves),
            "ours, layer 12, stock engine": lambda: plain.encode(waves),
            "GEMM": lambda: peaks.append(peak()),
            **coarse,
        },
        scale.rounds,
    )
    texts_of = {"text, batch 1": lambda: stock.text_one(lines), "text, ours": lambda: bert.encode(lines)}
    written = rounds(texts_of | coarse_text, scale.rounds)
    seconds = sum(map(len, waves)) / RATE
    tokens = sum(len(line.split()) + 2 for line in lines)
    a, b = list(spent)[:2]
    useful = sum(base_flops(len(wave), 12) for wave in waves) / statistics.median(spent["ours, layer 12"]) / 1e9
    gemm = max(peaks)  # a peak: what disturbs it only makes it slower
    checks = [
        ("layer 12 over (a)", ratio(spent, a, "ours, layer 12"), 1.0, 1.2),
        ("layer 6 over (a) at 12", ratio(spent, a, "ours, layer 6"), 1.4, 1.7),
        ("layer 12 over (b)", ratio(spent, b, "ours, layer 12"), 2.0, None),
        ("text over batch 1", ratio(written, "text, batch 1", "text, ours"), 2.3, None),
    ]
    if coarse:
        own, rough = "ours, layer 12", "text, ours, bfloat16"
        checks.append(("bfloat16 over float32, layer 12", ratio(spent, own, f"{own}, bfloat16"), None, None))
        checks.append(("text in bfloat16 over batch 1", ratio(written, "text, batch 1", rough), 4.0, None))
    if not scale.speech:  # operations are counted for the base architecture, and processes take long to start
        both = text_on_both_cores(speech, text, lines, scale.rounds)
        checks.append(("text over batch 1, two workers each (wall)", both, None, None))
        checks.append(("two workers over one (wall)", two_workers(speech, waves, scale.rounds), 1.8, None))
        checks.append(("share of GEMM peak at layer 12", useful / gemm, None, 0.88))
        limit = statistics.median(written["text, batch 1"]) * gemm * 1e9 / bert_flops(tokens)  # products alone
        checks.append(("text over batch 1, if it were matrix products at that peak only", limit, None, None))
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "torch": torch.__version__,
        "audio_seconds": seconds,
        "policy": dict(engines[12].policy),
        "audio_seconds_per_cpu_second": {
            name: seconds / statistics.median(values) for name, values in spent.items() if name != "GEMM"
        },
        "text_tokens_per_cpu_second": {name: tokens / statistics.median(values) for name, values in written.items()},
        "gemm_gflops": gemm,
        "useful_gflops": None if scale.speech else useful,
        "checks": [{"what": what, "value": value, "gate": gate, "goal": goal} for what, value, gate, goal in checks],
    }


def show(found: dict[str, Any]) -> str:
    """The result as text."""
    lines = [
        f"{found['machine']}; torch {found['torch']}; {found['audio_seconds']:.0f} s of audio; engine {found['policy']}"
    ]
    lines += [
        f"  {value:8.2f} audio s per CPU s  {name}" for name, value in found["audio_seconds_per_cpu_second"].items()
    ]
    lines += [
        f"  {value:8.0f} tokens per CPU s   {name}" for name, value in found["text_tokens_per_cpu_second"].items()
    ]
    if found["useful_gflops"] is not None:
        lines.append(f"  GEMM {found['gemm_gflops']:.0f} GFLOP/s, ours {found['useful_gflops']:.0f}")
    for check in found["checks"]:
        verdicts = [
            f"{word} {bound:g} {'met' if check['value'] >= bound else 'MISSED'}"
            for word, bound in (("gate", check["gate"]), ("goal", check["goal"]))
            if bound is not None
        ]
        lines.append(f"  {check['what']}: {check['value']:.2f}" + (f"  ({', '.join(verdicts)})" if verdicts else ""))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-extract-") as folder:
        found = {"scale": given.scale, **measure(SCALES[given.scale], Path(folder))}
    print(show(found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    return found


if __name__ == "__main__":
    main()
